"""The ends of an interval lie on either side of the value, and within what the metric can be."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from scipy import stats

from collapsar.data.real_data import RealData
from collapsar.foundations.samples import Samples
from collapsar.judging.comparison import Comparison
from collapsar.judging.evaluator import intervals_around
from tiny_chains import compose_settings


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
    deviation = 0.2 / stats.t.ppf(0.975, df=1)  # of two batches: the interval of their mean is .2 wide on each side
    batches = [{key: 7.0 - deviation}, {key: 7.0 + deviation}]
    found = intervals_around({key: value}, batches, confidence=0.95)
    assert (found[f"{key}_low"], found[f"{key}_high"]) == pytest.approx(ends)
    assert found[f"{key}_low"] <= value <= found[f"{key}_high"]


def half_width(values, *, confidence):
    found = intervals_around({"kid": 0.0}, [{"kid": value} for value in values], confidence=confidence)
    assert found["kid_low"] == -found["kid_high"]
    return found["kid_high"]


def test_interval_is_students():
    assert half_width([1.0, 2.0, 3.0, 4.0, 5.0], confidence=0.95) == pytest.approx(2.7764451 * math.sqrt(2.5 / 5))


def test_intervals_hold_the_mean_as_often_as_they_say():
    values = torch.randn(1000, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    is_held = [abs(row.mean()) <= half_width(row.tolist(), confidence=0.9) for row in values]
    assert sum(map(bool, is_held)) / 1000 == pytest.approx(0.9, abs=0.03)


def test_one_batch_or_an_infinite_spread_gives_no_interval():
    assert intervals_around({"kid": 2.0}, [{"kid": 2.0}], confidence=0.95) == {}
    assert intervals_around({"kid": 2.0}, [{"kid": 1e300}, {"kid": -1e300}], confidence=0.95) == {}


def test_intervals_are_for_the_keys_that_the_samples_and_all_batches_have():
    batches = [{"fid": 1.0, "kid": 0.1, "vendi": 2.0}, {"fid": 3.0, "vendi": 2.0}]
    assert intervals_around({"fid": 2.0, "kid": 0.1}, batches, confidence=0.95).keys() == {"fid_low", "fid_high"}
    assert intervals_around({"fid": 2.0}, [], confidence=0.95) == {}


@pytest.mark.parametrize(("num_batches", "sizes"), [(3, [3, 3, 3]), (0, []), (6, [])])
def test_batches_are_disjoint_of_equal_size_and_larger_than_k(num_batches, sizes):
    values = torch.arange(11.0)[:, None]
    settings = compose_settings(
        "data=ring", "model=mixture", "evaluation.num_neighbours=2", "evaluation.metrics=[]",
        f"evaluation.num_batches={num_batches}",
    ).evaluation  # fmt: skip
    real = RealData(Samples(values), Samples(values), num_classes=0)
    evaluator = instantiate(settings, _convert_="object").prepare(real, has_floor=False)
    seen = []

    def noted(comparison: Comparison) -> dict[str, float]:
        seen.append(comparison.samples.values[:, 0].tolist())
        return {}

    scores = replace(evaluator, batch_measures={"noted": noted}).evaluate(Samples(values), seed=0, generation=0)
    assert [len(batch) for batch in seen] == sizes
    assert sorted(itertools.chain(*seen)) == list(range(sum(sizes)))
    assert (scores.num_batches, scores.batch_size) == (len(sizes), sizes[0] if sizes else 0)
