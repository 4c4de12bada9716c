"""The ends of an interval lie on either side of the value, and within what the metric can be."""

import pytest

from collapsar.judging.measuring import BatchSpread


@pytest.mark.parametrize(
    ("key", "value", "ends"),
    [
        ("kid", -0.01, (-0.21, 0.19)),  # may be negative
        ("pca/fid_debiased", 0.05, (-0.15, 0.25)),
        ("tail_recall", 0.95, (0.75, 1.0)),
        ("pca/recall_class_3", 0.1, (0.0, 0.3)),
        ("fid", 0.1, (0.0, 0.3)),
        ("density", 1.1, (0.9, 1.3)),
        ("vendi", 1.1, (1.0, 1.3)),
    ],
)
def test_ends_are_cut_at_the_bounds_of_their_own_metric(key, value, ends):
    spread = BatchSpread(half_widths={key: 0.2}, num_batches=5, batch_size=20)
    found = spread.around({key: value})
    assert (found[f"{key}_low"], found[f"{key}_high"]) == pytest.approx(ends)
    assert found[f"{key}_low"] <= value <= found[f"{key}_high"]
