"""`scripts/same-records` sees every difference that a record, a sample or a loss can have, and no other."""

import json

import numpy as np
import pytest

import same_records

RECORD = {
    "generation": 0,
    "seed": 0,
    "pool": {"size": 4, "origins": {"real": 4}},
    "metrics": {"fid": 10.0, "pca/fid_floor": 1.0, "recall": 0.5},
    "training": {"steps": 5.0, "loss": 1.25},
    "class_shares": {"real": [0.5, 0.5]},
    "seconds": {"train": 1.0},
    "peak_memory_bytes": 5,
    "feature_spaces": {"pca": {"content_hash": "a"}},
}


def write(folder, record=RECORD, *, samples=(1, 2, 3), curve=(1.0,)):
    (folder / "generation_000").mkdir(parents=True)
    (folder / "records.jsonl").write_text(json.dumps(record) + "\n")
    np.savez(folder / "generation_000" / "samples.npz", samples=np.array(samples))
    (folder / "generation_000" / "curve.json").write_text(json.dumps([{"loss": value} for value in curve]))
    return folder


@pytest.fixture
def compare(tmp_path):
    """The differences between a plain run folder and one with changes."""

    def call(record=RECORD, *, fid_tolerance=0.0, **changes):
        old, new = write(tmp_path / "old"), write(tmp_path / "new", record, **changes)
        return list(same_records.differences(old, new, fid_tolerance=fid_tolerance))

    return call


def test_the_same_folders_have_no_difference(compare):
    assert compare() == []


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("metrics", {**RECORD["metrics"], "recall": 0.5 + 2**-53}, "metrics.recall: 0.5, now 0.5000000000000001"),
        ("metrics", {"fid": 10.0, "recall": 0.5}, "metrics.pca/fid_floor: 1.0, now None"),
        ("pool", {"size": 4, "origins": {"0": 4}}, "pool.origins.real: 4, now None"),
        ("training", {"steps": 5.0, "loss": 1.5}, "training.loss: 1.25, now 1.5"),
        ("class_shares", {"real": [0.6, 0.4]}, "class_shares.real: [0.5, 0.5], now [0.6, 0.4]"),
    ],
)
def test_any_other_number_is_named(part, value, named, compare):
    found = compare({**RECORD, part: value})
    assert any(line.endswith(named) for line in found), found


@pytest.mark.parametrize(
    "change",
    [{"seconds": {"train": 2.0}}, {"peak_memory_bytes": 6}, {"feature_spaces": {"pca": {"content_hash": "b"}}}],
)
def test_what_clock_memory_and_names_say_is_not_compared(change, compare):
    assert compare({**RECORD, **change}) == []


def test_other_samples_are_a_difference(compare):
    assert compare(samples=(1, 2, 4)) == ["generation_000/samples.npz: samples differs"]


def test_other_losses_on_the_way_are_a_difference(compare):
    assert compare(curve=(2.0,)) == ["generation_000/curve.json differs"]


@pytest.mark.parametrize(("fid", "num_found"), [(10.0 + 1e-6, 0), (10.001, 1)])
def test_the_tolerance_is_for_fid_and_relative(fid, num_found, compare):
    assert len(compare({**RECORD, "metrics": {**RECORD["metrics"], "fid": fid}}, fid_tolerance=1e-6)) == num_found


def test_the_tolerance_is_for_nothing_else(compare):
    assert len(compare({**RECORD, "metrics": {**RECORD["metrics"], "recall": 0.5000001}}, fid_tolerance=1e-3)) == 1


def test_what_is_left_out_is_not_compared(tmp_path):
    changed = {**RECORD, "metrics": {**RECORD["metrics"], "recall": 0.1}, "num_real": -1}
    old, new = write(tmp_path / "old"), write(tmp_path / "new", changed)
    (line,) = same_records.differences(old, new, fid_tolerance=0.0, compared=["metrics"])
    assert "metrics.recall" in line


def test_a_study_of_mnist_is_run_only_where_mnist_is(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLAPSAR_DATA", str(tmp_path))
    without = same_records.studies()
    (tmp_path / "MNIST").mkdir()
    assert same_records.studies() == same_records.STUDIES
    monkeypatch.delenv("COLLAPSAR_DATA")
    assert same_records.studies() == without
    assert same_records.STUDIES.keys() - without.keys() == {"stacked"}
