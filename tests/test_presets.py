"""Every preset names a question and its source, and each of its jobs builds on digits and on MNIST, without data.

A preset is a product of what is swept, or a comparison: a list of arms, each with every seed.
"""

import re

import pytest
from omegaconf import OmegaConf

from collapsar.config.choices import typed_choices
from collapsar.config.composition import build, config_folder, settings
from collapsar.foundations.chosen import arm_name
from collapsar.foundations.settings import arm_settings, binding_settings
from collapsar.jobs.multirun import arm_jobs
from collapsar.study.arms import find_baseline
from tiny_chains import compose_settings

PRESETS = sorted((config_folder() / "experiment").glob("*.yaml"))
CASE_STUDIES = {  # of their own data, and five seeds
    "does_a_consumer_forecast_survive": "health_insurance",
    "does_a_disease_predictor_survive": "breast_cancer",
    "does_a_driver_survive_a_simple_world": "scenes",
}
WORTH = config_folder() / "experiment" / "what_are_synthetic_samples_worth.yaml"  # arms of a paper's measure
COMPARED = [preset for preset in PRESETS if "arms" in OmegaConf.load(preset).hydra.sweeper]
COMPARISONS = [preset for preset in COMPARED if preset.stem not in CASE_STUDIES and preset != WORTH]
OF_PAPERS = [preset for preset in PRESETS if preset.stem != "quickstart" and preset not in COMPARED] + [WORTH]
LEFT_OUT = {"adamw", "step_decay", "strong_augmentation", "warm_up"}  # what_prevents_collapse says why
LEFT_OUT |= {"no_norm", "residual"}  # of a VAE: what it has anyway, and the body of vae_residual
LEFT_OUT |= {"none", "optimal_transport_exact"}


QUICKSTART = config_folder() / "experiment" / "quickstart.yaml"


def arms_of(preset):
    return list(OmegaConf.load(preset).hydra.sweeper.get("arms", [""]))


def jobs(preset):
    """The overrides of every job of a preset's multirun, as its sweeper makes them."""
    sweeper = OmegaConf.load(preset).hydra.sweeper
    swept = sweeper.get("params") or {
        "seed": sweeper.seeds,
        sweeper.setting: f"{sweeper.low},{sweeper.high}",
    }  # of a search
    return arm_jobs(arms_of(preset), params=[f"{key}={value}" for key, value in swept.items()], typed=[])


def jobs_of_first_seed(preset):
    """Seeds are numbers, and one of each arm is enough to compose it."""
    arms = {
        tuple(override for override in job if not override.startswith("seed=")): job for job in reversed(jobs(preset))
    }
    return list(arms.values())


def on(preset, data):
    """A preset on data: on both where it is of models, which have recipes of their own, and with the slow tests."""
    is_slow = data == "mnist" and preset.stem not in ("quickstart", "which_architecture_collapses")
    return pytest.param(preset, data, marks=[pytest.mark.slow] if is_slow else [], id=f"{preset.stem}-{data}")


@pytest.mark.parametrize(
    ("preset", "data"),
    [on(preset, data) for preset in (*COMPARISONS, *OF_PAPERS, QUICKSTART) for data in ("digits", "mnist")],
)
def test_every_job_of_a_preset_builds(preset, data, monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAPSAR_DATA", str(tmp_path))  # nothing there, and nothing asked for
    for job in jobs_of_first_seed(preset):
        experiment = build(compose_settings(f"experiment={preset.stem}", f"data={data}", *job))
        assert experiment.data.name == data
        has_fewer = any(override.startswith("data.num_train=") for override in job)
        assert (experiment.num_generations == 1) if has_fewer else (experiment.num_generations > 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("study", "data"), CASE_STUDIES.items())
def test_a_case_study_is_a_question_about_five_seeds_whose_jobs_build_on_data_of_its_own(study, data):
    preset = config_folder() / "experiment" / f"{study}.yaml"
    assert "?" in preset.read_text()
    assert arms_of(preset)[0] == ""
    assert len(jobs(preset)) == 5 * len(arms_of(preset))
    for job in jobs_of_first_seed(preset):
        assert build(compose_settings(f"experiment={study}", *job)).data.name == data


@pytest.mark.parametrize("study", CASE_STUDIES)
def test_a_case_study_has_as_many_real_training_samples_as_are_measured_and_so_predictors_of_real_ones(study):
    experiment = build(compose_settings(f"experiment={study}", "seed=0"))
    real = experiment.data.load()
    assert experiment.evaluation.sample_size(len(real.test)) <= len(real.train)


@pytest.mark.parametrize("study", CASE_STUDIES)
def test_the_baseline_of_a_case_study_is_its_first_arm(study):
    preset = config_folder() / "experiment" / f"{study}.yaml"
    arms = [arm_settings(settings(compose_settings(f"experiment={study}", *job))) for job in jobs_of_first_seed(preset)]
    assert find_baseline(arms) == jobs_of_first_seed(preset).index(["seed=0"])


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


@pytest.mark.parametrize("preset", COMPARISONS, ids=lambda preset: preset.stem)
def test_a_comparison_is_a_question_about_ten_seeds_of_a_plain_chain_and_of_others(preset):
    comment = " ".join(line.lstrip("# ") for line in preset.read_text().splitlines() if line.startswith("# "))
    assert "?" in comment
    assert OmegaConf.load(preset).name == preset.stem
    assert arms_of(preset)[0] == ""
    assert len(set(arms_of(preset))) == len(arms_of(preset)) > 2
    assert len(jobs(preset)) == 10 * len(arms_of(preset))


def test_every_lever_cause_and_correction_is_compared_or_left_out_for_a_reason():
    compared = {name for preset in COMPARED for arm in arms_of(preset) for name in re.findall(r"\w+", arm)}
    files = [
        path.stem for group in ("lever", "cause", "correction") for path in (config_folder() / group).glob("*.yaml")
    ]
    assert sorted(set(files) - compared - LEFT_OUT) == []


@pytest.mark.parametrize("preset", COMPARISONS, ids=lambda preset: preset.stem)
def test_the_plain_chain_of_a_comparison_is_its_baseline(preset):
    first_jobs = jobs_of_first_seed(preset)
    composed = [compose_settings(f"experiment={preset.stem}", "data=digits", *job) for job in first_jobs]
    arms = [arm_settings(settings(config)) for config in composed]
    assert find_baseline(arms) == first_jobs.index(["seed=0"])


def test_what_samples_are_worth_is_measured_by_five_sizes_that_differ_in_nothing_else():
    composed = [compose_settings(f"experiment={WORTH.stem}", *job) for job in jobs_of_first_seed(WORTH)]
    arms = [binding_settings(settings(config)) for config in composed]
    plain = [{key: value for key, value in arm.items() if key != "data.num_train"} for arm in arms]
    same = [arm.get("data.num_train") for arm, own in zip(arms, plain, strict=True) if own == plain[0]]
    assert {*same} == {None, 0.33, 0.1, 0.033, 0.0112}
    assert find_baseline(arms) == jobs_of_first_seed(WORTH).index(["seed=0"])
    horizons = sorted(config.num_generations for config in composed)
    assert horizons[len(horizons) // 2] == 6  # the median chain's, at which arms are compared


@pytest.mark.parametrize("preset", COMPARED, ids=lambda preset: preset.stem)
def test_every_arm_of_a_comparison_has_a_name_of_its_own(preset):
    typed = [typed_choices(job) for job in jobs_of_first_seed(preset)]
    names = [arm_name(own, regime=own.get("regime", "replace")) for own in typed]
    assert len(set(names)) == len(names) == len(arms_of(preset))
