"""What the floor is kept under: everything that its values depend on."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from collapsar.data.real_data import RealData
from collapsar.foundations.samples import Samples
from collapsar.judging import evaluator, suite
from collapsar.judging.comparison import RealReference
from collapsar.judging.evaluator import describe_floor, load_floor, measure_floor
from collapsar.judging.metric_keys import METRICS
from collapsar.judging.spaces.identity import IdentitySpace


def draw(num_samples, *, seed=0):
    return Samples(torch.randn(num_samples, 3, generator=torch.Generator().manual_seed(seed)))


def make_references(*, num_train, num_test, cache_dir, seed=0):
    real = RealData(train=draw(num_train, seed=seed), test=draw(num_test, seed=seed + 500), num_classes=0)
    space = IdentitySpace().fit(real, device=torch.device("cpu"), cache_dir=cache_dir)
    reference = RealReference(
        name="identity",
        space=space,
        held_out=real.test,
        training=real.train.values,
        num_classes=0,
        known_modes=None,
        num_neighbours=3,
        folder=None,
    )
    return {"": reference}


@pytest.fixture
def references(tmp_path):
    return make_references(num_train=50, num_test=40, cache_dir=tmp_path)


MEASURES = {"frechet": suite.frechet, "classes": partial(suite.classes, low_confidence=0.5)}


def test_floor_is_what_a_perfect_generator_scores(tmp_path):
    """Of two samples of one Gaussian, FID is (1/n + 1/m) (D + D (D + 1) / 4) on average."""
    floors = [
        measure_floor(
            make_references(num_train=500, num_test=500, cache_dir=tmp_path, seed=seed),
            draw(500, seed=seed),
            measures={"frechet": suite.frechet, "support": suite.support},
        )
        for seed in range(60)
    ]
    expected = (1 / 500 + 1 / 500) * (3 + 3 * 4 / 4)
    assert sum(floor["fid"] for floor in floors) / len(floors) == pytest.approx(expected, rel=0.1)
    assert sum(floor["density"] for floor in floors) / len(floors) == pytest.approx(1.0, abs=0.02)


def test_novelty_is_asked_of_held_out_samples_and_the_rest_of_training_samples(references):
    measures = {"novelty": suite.novelty, "support": suite.support}
    floor = measure_floor(references, draw(50), measures=measures)
    assert floor["duplicates"] == 0.0  # every training sample is a duplicate of itself
    assert floor.keys() >= {"authenticity", "nearest_ratio", "precision"}
    too_few = measure_floor(references, draw(30), measures=measures)
    assert set(too_few) == {"authenticity", "duplicates", "nearest_ratio"}


def test_a_floor_is_found_again(references):
    described = [describe_floor(references, draw(40), measures=MEASURES) for _ in range(2)]
    assert described[0] == described[1]


def test_nan_in_a_floor_that_an_earlier_version_stored_reaches_no_record(references, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluator, "measure_floor", lambda *_args, **_settings: {"fid": 1.5, "column_pairs": math.nan})
    stored = [load_floor(references, draw(40), measures=MEASURES, folder=tmp_path) for _ in range(2)]
    assert stored == [{"fid": 1.5}, {"fid": 1.5}]


def test_another_version_of_a_measure_has_another_floor(references, monkeypatch):
    before = describe_floor(references, draw(40), measures=MEASURES)
    monkeypatch.setitem(METRICS, "frechet", replace(METRICS["frechet"], version=1_000))
    assert describe_floor(references, draw(40), measures=MEASURES) != before


def test_the_version_of_a_measure_that_is_not_asked_for_changes_nothing(references, monkeypatch):
    before = describe_floor(references, draw(40), measures=MEASURES)
    monkeypatch.setitem(METRICS, "kernel", replace(METRICS["kernel"], version=1_000))
    assert describe_floor(references, draw(40), measures=MEASURES) == before


@pytest.mark.parametrize(
    "constant", ["collapsar.judging.evaluator.FLOOR_VERSION", "collapsar.judging.comparison.KEPT_VERSION"]
)
def test_another_version_of_what_floors_rest_on_has_another_floor(references, monkeypatch, constant):
    before = describe_floor(references, draw(40), measures=MEASURES)
    monkeypatch.setattr(constant, 1_000)
    references[""].__dict__.pop("key")  # computed before
    assert describe_floor(references, draw(40), measures=MEASURES) != before


def test_other_settings_and_other_samples_have_another_floor(references):
    stricter = MEASURES | {"classes": partial(suite.classes, low_confidence=0.6)}
    found = {
        describe_floor(references, draw(40), measures=MEASURES),
        describe_floor(references, draw(40), measures=stricter),
        describe_floor(references, draw(40, seed=2), measures=MEASURES),
        describe_floor(references, draw(40), measures={"frechet": suite.frechet}),
    }
    assert len(found) == 4
