"""Every preset names a question and its source, and each of its jobs builds on digits and on MNIST, without data."""

import re

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from collapsar.composition import build, config_folder
from tiny_chains import compose_settings

PRESETS = sorted((config_folder() / "experiment").glob("*.yaml"))
OF_PAPERS = [preset for preset in PRESETS if preset.stem != "quickstart"]


def jobs(preset):
    """The overrides of every job of a preset's multirun, as Hydra's own sweeper makes them."""
    swept = OmegaConf.load(preset).hydra.sweeper.params
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in swept.items()])
    (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return batch


def jobs_of_first_seed(preset):
    """Seeds are numbers, and one of each arm is enough to compose it."""
    arms = {
        tuple(override for override in job if not override.startswith("seed=")): job for job in reversed(jobs(preset))
    }
    return list(arms.values())


@pytest.mark.parametrize("data", ["digits", "mnist"])
@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_every_job_of_a_preset_builds(preset, data, monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAPSAR_DATA", str(tmp_path))  # nothing there, and nothing asked for
    for job in jobs_of_first_seed(preset):
        experiment = build(compose_settings(f"experiment={preset.stem}", f"data={data}", *job))
        assert experiment.data.name == data
        assert experiment.num_generations > 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("preset", OF_PAPERS, ids=lambda preset: preset.stem)
def test_a_preset_is_a_question_with_a_source_and_an_expectation(preset):
    comment = " ".join(line.lstrip("# ") for line in preset.read_text().splitlines() if line.startswith("# "))
    assert re.search(r"et al\. 20\d\d", comment)
    assert re.search(r"arXiv:\d{4}\.\d{5}", comment)
    assert "?" in comment
    assert "Expect" in comment
    assert OmegaConf.load(preset).name == preset.stem


@pytest.mark.parametrize("preset", OF_PAPERS, ids=lambda preset: preset.stem)
def test_a_preset_has_three_seeds(preset):
    assert len({override for job in jobs(preset) for override in job if override.startswith("seed=")}) >= 3
