"""What the floor is kept under: everything that its values depend on."""

from functools import partial

import pytest
import torch

from collapsar.metrics import suite
from collapsar.metrics.floor import describe_floor
from collapsar.metrics.reference import RealReference
from collapsar.metrics.spaces.identity import IdentitySpace
from collapsar.samples import RealData, Samples


def draw(num_samples, *, seed=0):
    return Samples(torch.randn(num_samples, 3, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture
def references(tmp_path):
    real = RealData(train=draw(50), test=draw(40, seed=1), num_classes=0)
    space = IdentitySpace().fit(real, device=torch.device("cpu"), cache_dir=tmp_path)
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


MEASURES = {"frechet": suite.frechet, "classes": partial(suite.classes, low_confidence=0.5)}


def test_a_floor_is_found_again(references):
    described = [describe_floor(references, draw(40), measures=MEASURES) for _ in range(2)]
    assert described[0] == described[1]


def test_another_version_of_a_measure_has_another_floor(references, monkeypatch):
    before = describe_floor(references, draw(40), measures=MEASURES)
    monkeypatch.setitem(suite.GROUP_VERSIONS, "frechet", 1_000)
    assert describe_floor(references, draw(40), measures=MEASURES) != before


def test_the_version_of_a_measure_that_is_not_asked_for_changes_nothing(references, monkeypatch):
    before = describe_floor(references, draw(40), measures=MEASURES)
    monkeypatch.setitem(suite.GROUP_VERSIONS, "kernel", 1_000)
    assert describe_floor(references, draw(40), measures=MEASURES) == before


@pytest.mark.parametrize(
    "constant", ["collapsar.metrics.floor.FLOOR_VERSION", "collapsar.metrics.reference.KEPT_VERSION"]
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
