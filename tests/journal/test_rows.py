"""The rows by which a chain is mirrored: sections of panels, and floors."""

from dataclasses import replace

from collapsar.journal.rows import HEADLINE, floors, panel_key, score_row
from collapsar.judging.metric_keys import metric_keys
from test_records import RECORD


def test_a_key_stands_behind_its_section_unless_it_is_of_the_headline():
    expected = {
        "recall": "recall",
        "recall_floor": "floors/recall_floor",
        "recall_low": "intervals/recall_low",
        "recall_class_3": "by_class/recall_class_3",
        "pca/recall": "spaces/pca/recall",
        "pca/recall_floor": "floors/pca/recall_floor",
        "pca/recall_class_3": "by_class/pca/recall_class_3",
        "kid": "distances/kid",
        "class_entropy": "classes/class_entropy",
        "authenticity": "memorisation/authenticity",
        "column/age/column_shape": "column/age/column_shape",
        "group/male/f1": "group/male/f1",
        "fitted/variance": "fitted/variance",
        "a_strangers_metric": "other/a_strangers_metric",
    }
    assert {key: panel_key(key) for key in expected} == expected


def test_no_two_keys_share_a_panel_and_each_ends_with_its_key():
    keys = [f"{space}{name}{suffix}" for space in ("", "pca/") for name in metric_keys() for suffix in ("", "_floor")]
    panels = {panel_key(key) for key in keys}
    assert len(panels) == len(keys)
    assert all(panel_key(key).endswith(key) for key in keys)


def test_six_metrics_of_images_are_the_headline():
    assert sorted(HEADLINE) == ["classes_dropped", "coverage", "density", "fid", "precision", "recall"]


def test_a_row_draws_the_floors_of_the_headline_alone_or_holds_all_by_their_recorded_keys():
    record = replace(RECORD, metrics={"fid": 2.0, "fid_floor": 1.0, "kid": 0.2, "kid_floor": 0.1})
    drawn, whole = score_row(record), score_row(record, is_drawn=False)
    assert {key for key in drawn if "_floor" in key} == {"floors/fid_floor"}
    assert record.metrics.items() <= whole.items()
    assert floors(record) == {"floors/fid_floor": 1.0, "floors/kid_floor": 0.1}
