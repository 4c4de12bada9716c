"""What the README says of extending: a model, a regime, a lever and a metric of one's own are a few lines each."""

import json
import sys
import textwrap

import pytest

from collapsar.judging.metric_keys import METRICS

CODE = '''
"""A model and a regime of a user's own."""

import torch
from torch import nn

from collapsar.data.pool import Pool
from collapsar.data.regimes import Regime
from collapsar.judging.metric_keys import COVERAGE, Metric, MetricKey, add_metric
from collapsar.models.course import Player
from collapsar.models.learned import LearnedModel
from collapsar.foundations.samples import to_model_range


class Blobs(LearnedModel):
    """An affine decoder without an encoder: it learns the mean image."""

    name = "blobs"

    def __init__(self, *, sample_shape, latent_dim):
        super().__init__(sample_shape=sample_shape, latent_dim=latent_dim)
        self.save_hyperparameters()
        self.decoder = nn.Linear(latent_dim, torch.Size(sample_shape).numel())

    def players(self):
        return [Player(module=self, losses=self.losses, learning_rate=0.1)]

    def losses(self, batch, shared):
        drawn = self.decode(torch.randn(len(batch), self.latent_dim), None, likelihood_spread=1.0)
        return {"squared": (drawn - to_model_range(batch.values)).square().mean()}

    def decode(self, latents, generator, *, likelihood_spread):
        return self.decoder(latents).reshape(-1, *self.sample_shape)


def brightness(comparison):
    """brightness: the mean pixel of the samples, in [0, 1]."""
    return {"brightness": float(comparison.samples.values.float().mean() / 255)}


add_metric(
    "brightness",
    Metric(measure="toys:brightness", keys={"brightness": MetricKey("Brightness", COVERAGE, (0.0, 1.0))}),
)


class Newest(Regime):
    """The newer half of what was drawn."""

    name = "newest"

    def next_pool(self, pool, *, real, synthetic, generator, reserve=None):
        return Pool((synthetic[len(synthetic) // 2 :],))
'''
CONF = {
    "model/blobs.yaml": """
        _target_: toys.Blobs
        _partial_: true
        sample_shape: ${data.sample_shape}
        latent_dim: 3
    """,
    "regime/newest.yaml": """
        _target_: toys.Newest
    """,
    "lever/gentle.yaml": """
        # @package _global_
        training:
          gradient_clip_norm: 0.001
    """,
}


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A folder with the code and the conf of four additions, and the metric of a plug-in."""
    (tmp_path / "toys.py").write_text(CODE)
    for name, content in CONF.items():
        path = tmp_path / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("toys", None)
    METRICS.pop("brightness", None)


@pytest.fixture
def run_toys(toys, collapsar, tiny):
    """`run_toys("seed=1")` runs a chain of two generations with all four; gives its folder."""

    def call(*overrides):
        code, stderr = collapsar(
            "--config-dir", "my_conf", *tiny, "tracking=none", "model=blobs", "regime=newest",
            "evaluation.metrics=[frechet,support,classes,brightness]", "plugins=[toys]", *overrides,
        )  # fmt: skip
        assert code == 0, stderr
        (folder,) = (toys / "outputs" / "study").iterdir()
        return folder

    return call


def test_a_model_a_regime_a_lever_and_a_metric_of_ones_own_run_a_chain(run_toys):
    folder = run_toys("lever=[gentle]")
    assert folder.name.startswith("digits_blobs_newest_lever-gentle_seed0_")
    first, second = (json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines())
    assert (first["model"], first["regime"]) == ("blobs", "newest")
    assert second["pool"] == {"size": 100, "real_fraction": 0.0, "origins": {"0": 100}}
    assert first["training"].keys() >= {"steps", "squared"}
    assert 0 <= first["metrics"]["brightness"] <= 1
    assert 0 <= first["metrics"]["pca/brightness"] <= 1
    assert first["metrics"]["brightness_floor"] > 0
    assert "Brightness" in (folder / "report.html").read_text()


def test_a_lever_of_ones_own_acts_and_names_another_folder(run_toys, toys):
    with_lever = run_toys("lever=[gentle]")
    plain = with_lever.rename(toys / "with_lever")
    without = run_toys()
    assert without.name != with_lever.name
    losses = [json.loads((folder / "records.jsonl").read_text().splitlines()[0]) for folder in (plain, without)]
    assert losses[0]["training"]["squared"] != losses[1]["training"]["squared"]
