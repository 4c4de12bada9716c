"""Collapsed, constant and duplicated samples, real or synthetic, are measured: finite values or none, and no error."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from collapsar.cases.tables.numerals import typed
from collapsar.data.real_data import KnownModes, RealData
from collapsar.foundations.samples import Samples
from collapsar.judging.evaluation import measured_groups
from mixed_tables import KINDS, mixed_rows, mixed_table

CONF = Path(__file__).parents[2] / "conf"
NUM_HELD_OUT = 60
IMAGES = measured_groups()
pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # k-means of fewer points than bins


def evaluation(folder, **changes):
    """Every group of metrics, some with their spread over batches, and networks that are trained for an instant."""
    node = OmegaConf.load(CONF / "evaluation" / "standard.yaml")
    node.downstream.budget.num_steps = 2
    node.update(accelerator="cpu", cache_folder=str(folder), num_bins=10, num_batches=2, metrics=IMAGES, **changes)
    node.batch_metrics = ["frechet", "support", "diversity", "novelty"]
    return instantiate(node, _convert_="object")


def split(values, labels, *, num_classes, **more):
    samples = Samples(values, labels)
    return RealData(samples[:-NUM_HELD_OUT], samples[-NUM_HELD_OUT:], num_classes=num_classes, **more)


def constant_within_classes(values, labels):
    return torch.stack([values[labels == label][0] for label in labels])


@pytest.fixture(scope="module")
def images(digits, tmp_path_factory):
    """Digits as they are, with one image for each class, and with one image in all; and how they are measured."""
    values, labels = digits.train.values[:260], digits.train.labels[:260]
    settings = evaluation(tmp_path_factory.mktemp("spaces"))
    settings.spaces["classifier"] = instantiate(OmegaConf.load(CONF / "stick" / "digits.yaml"), _convert_="object")
    sets = {
        "all": values,
        "one for each class": constant_within_classes(values, labels),
        "one": values[:1].expand_as(values),
    }
    return settings, {name: split(own, labels, num_classes=10) for name, own in sets.items()}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(260, 3, generator=generator)
    labels = torch.arange(260) % 2
    modes = KnownModes(2.0 * torch.eye(3), 0.1)
    sets = {
        "all": values,
        "one": torch.full((260, 3), 0.1),
        "seven": values[torch.arange(260) % 7],
    }
    settings = evaluation(tmp_path_factory.mktemp("spaces"))
    return settings, {name: split(own, labels, num_classes=2, known_modes=modes) for name, own in sets.items()}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    rows = mixed_rows(260)
    same, outcomes = rows.iloc[[0] * 260].reset_index(drop=True), np.where(np.arange(260) % 2, "yes", "no")
    frames = {
        "constant column": rows.assign(age=30.0),
        "one outcome held out": rows.assign(outcome=np.where(np.arange(260) < 200, rows.outcome, "no")),
        "one": same.assign(outcome=outcomes),
    }
    node = OmegaConf.load(CONF / "table_metrics" / "default.yaml")
    node.task.num_trees, node.task.subgroup = 3, "sex"
    settings = evaluation(tmp_path_factory.mktemp("spaces"), table=node)
    found = {}
    for name, frame in frames.items():
        table = mixed_table(frame[:-NUM_HELD_OUT])
        values = table.encode(typed(frame, KINDS))
        found[name] = split(values, table.classes(values), num_classes=2, table=table)
    return settings, found


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    node = OmegaConf.merge(OmegaConf.load(CONF / "data" / "scenes.yaml"), {"seed": 0, "num_train": 200})
    drawn = instantiate(OmegaConf.merge(node, {"num_test": NUM_HELD_OUT, "num_reserve": 10}), _convert_="object").load()
    settings = evaluation(tmp_path_factory.mktemp("spaces"))
    settings.spaces["classifier"] = instantiate(OmegaConf.load(CONF / "stick" / "scenes.yaml"), _convert_="object")
    return replace(settings, metrics=["frechet", "support", "diversity", "classes"], num_batches=0), {"all": drawn}


def collapsed(values):
    places = torch.arange(len(values))
    yield "themselves", values
    yield "one", values[:1].expand_as(values)
    yield "black", torch.zeros_like(values)
    yield "each twice", values[places // 2]
    if values.is_floating_point():
        yield "far away", values + 1e15
        yield "close together", values * 1e-30


@pytest.mark.parametrize("kind", ["images", "vectors", "tables", pytest.param("scenes", marks=pytest.mark.slow)])
def test_degenerate_samples_have_finite_values_or_none(kind, request):
    settings, sets = request.getfixturevalue(kind)
    for of_real, real in sets.items():
        evaluator = settings.prepare(real)
        for of_drawn, values in collapsed(real.test.values):
            pool = real.train if of_drawn != "one" else Samples(values)
            found = evaluator.evaluate(Samples(values), seed=0, generation=0, pool=pool).metrics
            assert {"fid", "precision", "recall", "vendi"} <= found.keys(), (of_real, of_drawn)
            assert all(math.isfinite(value) for value in found.values()), (of_real, of_drawn)
