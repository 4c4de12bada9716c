"""The record's metrics as torchmetrics objects: equal to the pure functions, filled once, reduced across ranks."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import distributed
from torchmetrics.image.fid import FrechetInceptionDistance

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError
from collapsar.judging.comparison import Comparison, compare
from collapsar.judging.metric_modules import GivenFeatures, NeighbourMetric, make_frechet_metric
from collapsar.judging.reference import RealReference
from collapsar.judging.spaces.identity import IdentitySpace
from collapsar.metrics.frechet import frechet_distance
from collapsar.metrics.neighbours.scores import neighbour_scores, prepare_real_side
from collapsar.samples import Samples


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


def test_a_comparison_takes_its_scores_from_the_metric():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    expected = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=3)
    assert compare_vectors(real, synthetic).support == asdict(expected)


def test_neighbour_metric_collects_batches():
    real, synthetic = draw(200, 4), draw(150, 4, seed=1)
    metric = NeighbourMetric(num_neighbours=3)
    for batch in real.split(60):
        metric.update(real=batch)
    for batch in synthetic.split(40):
        metric.update(synthetic=batch)
    expected = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=3)
    assert {name: float(value) for name, value in metric.compute().items()} == asdict(expected)


def test_a_prepared_real_side_stays_through_resets():
    real = draw(200, 4)
    metric = NeighbourMetric(real_side=prepare_real_side(real, num_neighbours=3))
    for seed in (1, 2):
        synthetic = draw(150, 4, seed=seed)
        metric.reset()
        metric.update(synthetic=synthetic)
        expected = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=3)
        assert {name: float(value) for name, value in metric.compute().items()} == asdict(expected)


def test_neighbour_metric_needs_both_sides_and_one_real_side():
    metric = NeighbourMetric()
    metric.update(real=draw(20, 4))
    with pytest.raises(UsageError, match="real and synthetic"):
        metric.compute()
    with pytest.raises(UsageError, match="got neither"):
        metric.update()
    prepared = NeighbourMetric(real_side=prepare_real_side(draw(20, 4), num_neighbours=3))
    with pytest.raises(UsageError, match="takes no real= features"):
        prepared.update(real=draw(20, 4))


# Across ranks


def score_on_rank(rank, folder):
    """One of two processes: it sees every second sample, and writes the scores that it computes."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    real, synthetic = draw(60, 4), draw(50, 4, seed=1)
    collected = NeighbourMetric(num_neighbours=3)
    collected.update(real=real[rank::2], synthetic=synthetic[rank::2])
    prepared = NeighbourMetric(real_side=prepare_real_side(real, num_neighbours=3))
    prepared.update(synthetic=synthetic[rank::2])
    fid = make_frechet_metric(real[rank::2], centre=real.double().mean(0))
    fid.update(synthetic[rank::2], real=False)
    found = {
        "collected": {name: float(value) for name, value in collected.compute().items()},
        "prepared": {name: float(value) for name, value in prepared.compute().items()},
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
