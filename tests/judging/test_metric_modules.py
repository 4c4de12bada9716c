"""The record's metrics as torchmetrics objects: equal to the pure functions, filled once, reduced across ranks."""

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.wrappers import FeatureShare

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging import metric_modules
from collapsar.judging.comparison import Comparison, RealReference, compare
from collapsar.judging.metric_modules import (
    Coverage,
    Density,
    GivenFeatures,
    ImprovedPrecision,
    ImprovedRecall,
    NeighbourMetric,
    extract,
)
from collapsar.judging.spaces.identity import IdentitySpace
from collapsar.judging.spaces.stick import stick_features
from collapsar.metrics.frechet import frechet_distance
from collapsar.metrics.neighbours.scores import neighbour_scores, prepare_real_side


def draw(num_samples, feature_dim, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator)


def compare_vectors(real, synthetic) -> Comparison:
    data = RealData(train=Samples(real), test=Samples(real), num_classes=0)
    space = IdentitySpace().fit(data, device=torch.device("cpu"), cache_dir=Path())
    reference = RealReference(
        name="identity",
        space=space,
        held_out=data.test,
        training=real,
        num_classes=0,
        known_modes=None,
        num_neighbours=3,
        folder=None,
    )
    return compare({"": reference}, Samples(synthetic), pool=None, seed=0, generation=0)[""]


# FID


def test_fid_of_a_comparison_is_torchmetrics_own():
    real, synthetic = draw(400, 8), 1.2 * draw(300, 8, seed=1) + 0.2
    metric = FrechetInceptionDistance(feature=GivenFeatures(torch.zeros(8, dtype=torch.float64)))
    metric.update(real, real=True)
    metric.update(synthetic, real=False)
    found = compare_vectors(real, synthetic)
    assert found.fid_by == "torchmetrics"
    assert found.fid == pytest.approx(float(metric.compute()), rel=1e-10)
    assert found.fid == pytest.approx(frechet_distance(real=real, synthetic=synthetic), rel=1e-6)


def test_the_real_side_is_filled_once_a_chain(monkeypatch):
    real, fills, update = draw(400, 8), [], FrechetInceptionDistance.update

    def count(metric, features, *, real):
        fills.append(real)
        update(metric, features, real=real)

    monkeypatch.setattr(FrechetInceptionDistance, "update", count)
    first = compare_vectors(real, draw(300, 8, seed=1))
    for seed in range(3):
        synthetic = draw(300, 8, seed=seed)
        found = compare({"": first.real}, Samples(synthetic), pool=None, seed=0, generation=seed)[""].fid
        assert found == pytest.approx(frechet_distance(real=real, synthetic=synthetic), rel=1e-6)
    assert fills.count(True) == 1


def test_features_far_from_zero_keep_their_digits():
    real, synthetic = 0.1 * draw(400, 4) + 1e4, 0.2 * draw(300, 4, seed=1) + 1e4
    found = compare_vectors(real, synthetic)
    assert found.fid_by == "torchmetrics"
    assert found.fid == pytest.approx(frechet_distance(real=real, synthetic=synthetic), rel=1e-6)


UNRELIABLE = {
    "a point mass": (draw(400, 8), draw(1, 8).expand(300, 8)),
    "a plane": (draw(400, 8), draw(300, 2, seed=1) @ draw(2, 8)),
    "a constant dimension": (torch.nn.functional.pad(draw(400, 7), (0, 1)), draw(300, 8, seed=1)),
    "as many samples as dimensions": (draw(400, 64), draw(64, 64, seed=1)),
    "fewer samples than dimensions": (draw(40, 64), draw(300, 64, seed=1)),
    "513 dimensions": (draw(600, 513), draw(600, 513, seed=1)),
}


@pytest.mark.parametrize("name", UNRELIABLE)
def test_our_own_frechet_distance_is_taken_where_torchmetrics_is_not_reliable(name):
    real, synthetic = UNRELIABLE[name]
    found = compare_vectors(real, synthetic)
    assert found.fid_by == "collapsar"
    assert found.fid == pytest.approx(frechet_distance(real=real, synthetic=synthetic), rel=1e-12)


# Neighbours

PRDC = {"precision": 149 / 150, "recall": 0.8, "density": 1.272, "coverage": 0.885}  # of prdc 0.2


def add(metric, samples, *, real, batch_size=60):
    """Update a metric batch by batch."""
    for batch in samples.split(batch_size):
        metric.update(batch, real=real)
    return metric


def fill(metric, *, real, synthetic, batch_size=60):
    add(metric, real, real=True, batch_size=batch_size)
    return add(metric, synthetic, real=False, batch_size=batch_size)


def floats(scores):
    return {name: float(value) for name, value in scores.items()}


def expect(real, synthetic, *, num_neighbours=3):
    return asdict(neighbour_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours))


def test_a_comparison_takes_its_scores_from_the_metric():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    found = compare_vectors(real, synthetic).support
    assert found == expect(real, synthetic)
    assert list(found) == ["precision", "recall", "density", "coverage"]


def test_neighbour_metric_collects_batches_of_features():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    metric = fill(NeighbourMetric(num_neighbours=3), real=real, synthetic=synthetic)
    scores = metric.compute()
    assert floats(scores) == expect(real, synthetic)
    assert {value.dtype for value in scores.values()} == {torch.float64}


def test_neighbour_metric_equals_recorded_scores_of_prdc():
    metric = fill(NeighbourMetric(), real=draw(200, 4), synthetic=0.7 * draw(150, 4, seed=1) + 0.3)
    assert floats(metric.compute()) == pytest.approx(PRDC)


@pytest.mark.parametrize("name", ["precision", "recall", "coverage"])
def test_a_set_against_itself_scores_one(name):
    real = draw(60, 4)
    assert floats(fill(NeighbourMetric(), real=real, synthetic=real).compute())[name] == 1.0


def test_a_set_far_away_scores_nothing():
    metric = fill(NeighbourMetric(), real=draw(60, 4), synthetic=draw(60, 4) + 100)
    assert floats(metric.compute()) == dict.fromkeys(("precision", "recall", "density", "coverage"), 0.0)


def test_a_prepared_real_side_stays_through_resets():
    real = draw(200, 4)
    metric = NeighbourMetric(real_side=prepare_real_side(real, num_neighbours=3))
    for seed in (1, 2):
        synthetic = draw(150, 4, seed=seed)
        metric.reset()
        metric.update(synthetic, real=False)
        assert floats(metric.compute()) == expect(real, synthetic)


def test_real_samples_stay_through_resets_if_told(monkeypatch):
    real, prepared = draw(200, 4), []
    prepare = metric_modules.prepare_real_side
    monkeypatch.setattr(metric_modules, "prepare_real_side", lambda *a, **k: prepared.append(1) or prepare(*a, **k))
    metric = NeighbourMetric(num_neighbours=3, reset_real_features=False)
    metric.update(real, real=True)
    for seed in (1, 2):
        synthetic = draw(150, 4, seed=seed)
        metric.reset()
        metric.update(synthetic, real=False)
        assert floats(metric.compute()) == expect(real, synthetic)
    assert len(prepared) == 1


def test_reset_forgets_both_sides():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    metric = fill(NeighbourMetric(num_neighbours=3), real=draw(30, 7), synthetic=draw(30, 7))
    metric.reset()
    assert floats(fill(metric, real=real, synthetic=synthetic).compute()) == expect(real, synthetic)


def test_pairs_are_compared_once_for_four_scores(monkeypatch):
    passes, count = [], metric_modules.count_members
    monkeypatch.setattr(metric_modules, "count_members", lambda **sides: passes.append(1) or count(**sides))
    fill(NeighbourMetric(), real=draw(60, 4), synthetic=draw(60, 4, seed=1)).compute()
    assert len(passes) == 1


@pytest.mark.parametrize("copy", [lambda metric: metric.clone(), lambda metric: pickle.loads(pickle.dumps(metric))])
def test_copies_of_a_metric_go_on_by_themselves(copy):
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    metric = fill(NeighbourMetric(num_neighbours=3), real=real[:100], synthetic=synthetic[:50])
    copied = copy(metric)
    fill(copied, real=real[100:], synthetic=synthetic[50:])
    assert floats(copied.compute()) == expect(real, synthetic)
    assert floats(metric.compute()) == expect(real[:100], synthetic[:50])


def test_forward_adds_a_batch_and_scores_it_against_the_real_samples_so_far():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    metric = NeighbourMetric(num_neighbours=3)
    assert all(value.isnan() for value in metric(real, real=True).values())
    for batch in synthetic.split(50):
        assert floats(metric(batch, real=False)) == expect(real, batch)
    assert floats(metric.compute()) == expect(real, synthetic)


def test_a_collection_of_single_scores_shares_features_and_stays_right_through_forward():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    singles = {"p": ImprovedPrecision, "r": ImprovedRecall, "d": Density, "c": Coverage}
    collection = MetricCollection({name: kind(num_neighbours=3) for name, kind in singles.items()})
    fill(collection, real=real, synthetic=synthetic[:50])
    assert len(collection.compute_groups) == 1
    collection(synthetic[50:90], real=False)
    add(collection, synthetic[90:], real=False)
    expected = expect(real, synthetic)
    assert floats(collection.compute()) == {name: expected[kind.score] for name, kind in singles.items()}


class Halves(nn.Module):
    """Features of images; counts how often it is asked, and in which mode."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.asked = nn.BatchNorm1d(4), []

    def forward(self, images):
        self.asked.append(self.training)
        return self.norm(images.flatten(1)[:, :4].float() / 100)


def images(num_samples, *, seed):
    return torch.randint(
        0, 256, (num_samples, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_neighbour_metric_stands_beside_fid_in_a_collection():
    real, synthetic, features = images(60, seed=0), images(50, seed=1), Halves().eval()
    collection = MetricCollection(
        {"fid": FrechetInceptionDistance(feature=features), "near": NeighbourMetric(feature=features)}, prefix="val_"
    )
    found = floats(fill(collection, real=real, synthetic=synthetic).compute())
    expected = expect(*(extract(features, side) for side in (real, synthetic)), num_neighbours=5)
    assert found == {f"val_near_{name}": value for name, value in expected.items()} | {"val_fid": found["val_fid"]}
    features.asked.clear()
    collection.update(real, real=True)
    assert len(features.asked) == 2, "once for FID, once for all four scores"


def test_fid_and_neighbours_share_features_in_torchmetrics_own_wrapper():
    real, synthetic, features = images(60, seed=0), images(50, seed=1), Halves().eval()
    wrapper = FeatureShare([FrechetInceptionDistance(feature=features), NeighbourMetric(feature=features)])
    fill(wrapper, real=real, synthetic=synthetic, batch_size=100)
    assert len(features.asked) == 2, "once for each batch"
    expected = expect(*(extract(features, side) for side in (real, synthetic)), num_neighbours=5)
    assert expected.items() <= floats(wrapper.compute()).items()


def test_features_are_extracted_in_eval_mode_and_the_module_keeps_its_own():
    features = Halves().train()
    metric = NeighbourMetric(feature=features)
    metric.train()
    metric.update(images(20, seed=0), real=True)
    assert features.asked == [False]
    assert features.training
    assert features.norm.num_batches_tracked == 0


def test_a_measuring_stick_is_found_by_its_name():
    stick = stick_features("digits", device=torch.device("cpu"))
    real, synthetic = images(40, seed=0), images(30, seed=1)
    metric = fill(NeighbourMetric("digits"), real=real, synthetic=synthetic)
    expected = expect(
        *(torch.cat([stick.extract(batch) for batch in side.split(60)]) for side in (real, synthetic)), num_neighbours=5
    )
    assert floats(metric.compute()) == expected
    assert not list(metric.parameters())
    as_floats = fill(NeighbourMetric(stick), real=real / 255, synthetic=synthetic / 255)
    assert floats(as_floats.compute()) == expected


MISTAKES = {
    "no module": (lambda: NeighbourMetric(feature=True), "feature must be a fitted space, a module, the name of"),
    "no stick": (lambda: NeighbourMetric(feature="mnits"), "no measuring stick 'mnits': there are cifar10, digits"),
    "no layer": (lambda: NeighbourMetric(feature=100), "must be one of"),
    "no neighbour": (lambda: NeighbourMetric(num_neighbours=0), "num_neighbours must be above 0: got 0"),
    "another shape": (
        lambda: NeighbourMetric("digits").update(images(9, seed=0)[..., :4], real=True),
        r"digits_stick space takes samples \[1, 8, 8\]: got \[1, 8, 4\]",
    ),
    "another range": (
        lambda: NeighbourMetric("digits").update(images(9, seed=0) / 127.5 - 1, real=True),
        "images must be uint8, or floats from 0 to 1: got torch.float32 from -1 to 1",
    ),
    "integers": (
        lambda: NeighbourMetric().update(torch.ones(9, 4, dtype=torch.int64), real=False),
        "synthetic features must be .* in float32 or float64: got torch.int64",
    ),
    "too few": (
        lambda: fill(NeighbourMetric(), real=draw(9, 4), synthetic=draw(5, 4)).compute(),
        "below the number of samples: got 5 for 5 samples",
    ),
    "one side": (
        lambda: add(NeighbourMetric(), draw(9, 4), real=True).compute(),
        "compute needs real and synthetic samples",
    ),
    "two widths": (
        lambda: fill(NeighbourMetric(), real=draw(9, 4), synthetic=draw(9, 5)),
        "as many dimensions as before, 4: got 5",
    ),
    "two real sides": (
        lambda: NeighbourMetric(real_side=prepare_real_side(draw(20, 4), num_neighbours=3)).update(
            draw(9, 4), real=True
        ),
        "takes no real samples",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    make, message = MISTAKES[name]
    with pytest.raises(UsageError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


class Logging(LightningModule):
    """Logs the scores of two batches of features in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.recall = NeighbourMetric(), ImprovedRecall()
        self.all = MetricCollection(
            {"fid": FrechetInceptionDistance(feature=GivenFeatures(torch.zeros(4).double())), "near": NeighbourMetric()}
        )

    def validation_step(self, batch, batch_index):
        for metric in (self.near, self.recall, self.all):
            metric.update(batch[0], real=batch_index == 0)
        self.log_dict(self.near)
        self.log("recall_alone", self.recall)
        self.log_dict(self.all)


def test_lightning_logs_the_metric_a_single_score_and_a_collection():
    real, synthetic = draw(64, 4), draw(64, 4, seed=1)
    loader = DataLoader(TensorDataset(torch.cat([real, synthetic])), batch_size=64)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    for _ in range(2):  # the second run sees nothing of the first
        (logged,) = trainer.validate(Logging(), loader, verbose=False)
    expected = expect(real, synthetic, num_neighbours=5)
    expected |= {f"near_{name}": value for name, value in expected.items()} | {"recall_alone": expected["recall"]}
    assert logged == pytest.approx(expected | {"fid": frechet_distance(real=real, synthetic=synthetic)}, rel=1e-6)


# Across ranks


def score_on_rank(rank, folder):
    """One of two processes: it sees every second sample, and writes the scores that it computes."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    real, synthetic = draw(60, 4), draw(50, 4, seed=1)
    collected = NeighbourMetric(num_neighbours=3)
    collected.update(real, real=True) if rank == 0 else collected.update(synthetic, real=False)  # a side each
    prepared = NeighbourMetric(real_side=prepare_real_side(real, num_neighbours=3))
    prepared.update(synthetic[rank::2], real=False)
    fid = FrechetInceptionDistance(feature=GivenFeatures(real.double().mean(0)))
    fid.update(real[rank::2], real=True)
    fid.update(synthetic[rank::2], real=False)
    found = {
        "collected": floats(collected.compute()),
        "prepared": floats(prepared.compute()),
        "fid": float(fid.compute()),
    }
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_metrics_are_reduced_across_ranks(tmp_path):
    torch.multiprocessing.spawn(score_on_rank, args=(tmp_path,), nprocs=2)
    real, synthetic = draw(60, 4), draw(50, 4, seed=1)
    expected = asdict(neighbour_scores(real=real, synthetic=synthetic, num_neighbours=3))
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["collected"] == pytest.approx(expected)
        assert found["prepared"] == pytest.approx(expected)
        assert found["fid"] == pytest.approx(frechet_distance(real=real, synthetic=synthetic), rel=1e-6)
