"""Laws are drawn where they hold: real loops follow them, and settings that break a convention have none."""

from dataclasses import fields, replace

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from collapsar.config import composition
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.settings import config_folder, flatten
from collapsar.models.plan import Plan
from collapsar.report.exports import tidy
from collapsar.report.sections.curves import chart_content
from collapsar.study.arms import group_arms
from collapsar.study.chains import read_chains
from collapsar.theory import formulas, recursions
from collapsar.theory.fitted import fitted_values, values_of
from collapsar.theory.laws import laws_of
from tiny_chains import build_and_run, compose_settings

NUM_BLOCKS = 20
LAST = 3
LOOP = ("tracking=none", f"num_generations={LAST + 1}")
SCORES = ("evaluation=quick", "evaluation.metrics=[diversity]", "evaluation.num_batches=0", "data.num_test=40")
GAUSSIAN = ("data=gaussian", "model=gaussian", "data.num_train=20")
KERNELS = ("data=gaussian", "model=kde", "data.num_train=20")
UNBIASED = (*GAUSSIAN, "model.variance=unbiased")
CATEGORICAL = ("data=categorical", "model=categorical", "data.num_train=50", "data.num_categories=8")
REGRESSION = ("data=linear_regression", "model=linear_regression", "data.num_train=800", "data.num_inputs=4")


def settings(*overrides):
    return composition.settings(compose_settings(*LOOP, *overrides))


def laws(*overrides):
    return laws_of(settings(*overrides))


def blocks(record):
    """The record's parameters for one part of the dimensions at a time: the chains of each part are independent."""
    axis = 1 if "coefficients" in record.fitted else 0
    parts = {key: np.array_split(np.asarray(value), NUM_BLOCKS, axis=axis) for key, value in record.fitted.items()}
    return [replace(record, fitted={key: pieces[i] for key, pieces in parts.items()}) for i in range(NUM_BLOCKS)]


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (GAUSSIAN, "variance squared_mean second_moment median_variance"),
        ((*GAUSSIAN, "regime=accumulate"), "variance squared_mean second_moment"),
        ((*GAUSSIAN, "regime=fresh_real"), "variance squared_mean second_moment"),
        ((*GAUSSIAN, "regime=window", "regime.num_kept=2"), "variance squared_mean second_moment"),
        ((*GAUSSIAN, "regime=weighted", "num_synthetic=35"), "second_moment"),
        ((*GAUSSIAN, "num_synthetic=35"), "variance squared_mean second_moment"),
        ((*GAUSSIAN, "bias=scaled_latents", "num_synthetic=35"), "variance squared_mean"),
        ((*GAUSSIAN, "regime=fresh_real", "bias=scaled_latents"), "variance squared_mean"),
        ((*KERNELS, "model.absolute_bandwidth=0.5"), "variance squared_mean second_moment"),
        ((*KERNELS, "model.absolute_bandwidth=0.5", "regime=fresh_real"), "variance squared_mean second_moment"),
        ((*KERNELS, "model.absolute_bandwidth=0.5", "regime=mix"), "second_moment"),
        ((*KERNELS, "model.absolute_bandwidth=0.5", "regime=accumulate_subsample"), "second_moment"),
        ((*KERNELS, "model.bandwidth=0.5", "regime=fresh_real"), "variance squared_mean second_moment"),
        (KERNELS, "variance squared_mean second_moment"),
        (UNBIASED, "variance median_variance sd wasserstein log_variance"),
        ((*UNBIASED, "bias=scaled_latents"), "variance"),
        ((*CATEGORICAL, "data.dimensions=800"), "heterozygosity"),
        ((*CATEGORICAL, "data.dimensions=800", "regime=accumulate"), "heterozygosity"),
        ((*CATEGORICAL, "data.dimensions=800", "regime=mix", "data.num_train=10"), "heterozygosity"),
    ],
)
def test_the_real_loop_follows_every_law_that_is_drawn(overrides, keys, tmp_path):
    size = () if "data.dimensions=800" in overrides else ("data.dimensions=800",)
    if "regime=weighted" in overrides:
        size = (*size, "regime.regime.synthetic_ratio=1.5")
    records = build_and_run(tmp_path / "run", *LOOP, *SCORES, *overrides, *size)
    drawn = laws_of(settings(*SCORES, *overrides, *size))
    for key in keys.split():
        measured = [values_of(part)[f"fitted/{key}"] for part in blocks(records[-1])]
        standard_error = np.std(measured, ddof=1) / NUM_BLOCKS**0.5
        # The law of the median is an approximation; at n = 20 it lies within three per cent.
        slack = 0.03 if key == "median_variance" else 0.0
        assert abs(values_of(records[-1])[f"fitted/{key}"] - drawn[f"fitted/{key}"].at(LAST)) < (
            4.5 * standard_error + slack
        ), key


@pytest.mark.parametrize("regime", ["replace", "accumulate"])
def test_the_real_loop_follows_the_laws_of_regression(regime, tmp_path):
    overrides = (*REGRESSION, f"regime={regime}", "data.dimensions=404")
    record = build_and_run(tmp_path / "run", *LOOP, *SCORES, *overrides)[-1]
    law = laws(*overrides)["fitted/regression_error"].at(LAST)
    # All outputs share the inputs, whose scatter is about sqrt(2 / (4 * 800)) of the error.
    assert values_of(record)["fitted/regression_error"] == pytest.approx(law, rel=0.12)


CURATED = ("selection=curated", "judge=categories", "data.num_train=4000", "data.num_test=100")


@pytest.mark.parametrize(
    "overrides",
    [
        ("selection.num_choices=2",),
        ("selection.num_choices=4", "regime=mix"),
        ("selection.num_choices=4", "selection.favoured_class=[0,3]", "selection.strength=4"),
        ("selection.favoured_class=2", "regime=fixed_real"),
    ],
)
def test_curated_categories_follow_their_law(overrides, tmp_path):
    overrides = (*CATEGORICAL, *CURATED, *overrides)
    record = build_and_run(tmp_path / "run", *LOOP, *SCORES, *overrides)[-1]
    drawn = laws(*overrides)
    assert set(drawn) == {"fitted/heterozygosity", "fitted/entropy"}
    for key, law in drawn.items():
        assert values_of(record)[key] == pytest.approx(law.at(LAST), abs=0.06), key


def test_curation_has_no_law_without_the_judge_that_knows_categories():
    assert laws(*GAUSSIAN, *CURATED) == {}
    assert laws(*CATEGORICAL, *CURATED, "regime=accumulate") == {}
    assert laws(*CATEGORICAL, *CURATED, "bias=scaled_latents") == {}
    assert laws(*CATEGORICAL, "selection=curated") == {}


def test_categories_alive_are_no_fewer_than_the_bound(tmp_path):
    overrides = (*CATEGORICAL, "data.dimensions=400")
    record = build_and_run(tmp_path / "run", *LOOP, *SCORES, *overrides)[-1]
    bound = laws(*overrides)["fitted/alive_categories"].at(LAST)
    assert 0.9 * values_of(record)["fitted/alive_categories"] < bound < values_of(record)["fitted/alive_categories"]


def test_log_determinant_of_full_covariances_falls_as_wishart_says():
    law = laws(*UNBIASED, "model.covariance=full", "data.dimensions=3")["fitted/log_variance"]
    generator, found = np.random.default_rng(0), []
    for _ in range(400):
        mean, covariance = np.zeros(3), np.eye(3)
        for _ in range(LAST + 1):
            samples = generator.multivariate_normal(mean, covariance, size=20)
            mean, covariance = samples.mean(0), np.cov(samples.T)
        found.append(fitted_gaussian(mean=mean.tolist(), covariance=covariance.tolist())["fitted/log_variance"])
    assert np.mean(found) == pytest.approx(law.at(LAST), abs=4.5 * np.std(found) / 20)


def test_laws_are_those_of_theory():
    sized = {"num_samples": 20}
    expected = {
        ("regime=replace",): formulas.squared_mean_under_replace(LAST, **sized),
        ("regime=accumulate",): formulas.squared_mean_under_accumulate(LAST, **sized),
        ("regime=accumulate_subsample",): formulas.squared_mean_of_pools(LAST, num_kept=None, budget=20, **sized),
        ("regime=fixed_real", "regime.synthetic_ratio=0.5"): formulas.squared_mean_with_fixed_real(
            LAST, num_real=20, num_real_kept=20, num_synthetic=10
        ),
        ("regime=mix", "regime.real_fraction=0.3"): formulas.squared_mean_with_fixed_real(
            LAST, num_real=20, num_real_kept=6, num_synthetic=14
        ),
        ("regime=fresh_real", "regime.fresh_fraction=0.2"): recursions.moments_with_fresh_real(
            LAST, num_real=20, num_samples=20, num_fresh=4
        ).squared_mean,
    }
    for overrides, value in expected.items():
        found = laws(*GAUSSIAN, *overrides)
        assert found["fitted/squared_mean"].at(LAST) == pytest.approx(value)
        assert found["fitted/variance"].at(LAST) == pytest.approx(1 - value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("data=digits", "model=vae"),
        (*KERNELS, "num_synthetic=35"),
        (*KERNELS, "model.bandwidth=0.5", "regime=accumulate"),
        (*KERNELS, "model.absolute_bandwidth=0.5", "bias=scaled_latents"),
        ("data=grid", "model=kde", "model.absolute_bandwidth=0.5"),
        ("data=gaussian", "model=mixture"),
        (*GAUSSIAN, "bias=scaled_latents", "regime=accumulate"),
        (*GAUSSIAN, "selection=farthest"),
        (*UNBIASED, "regime=accumulate"),
        (*UNBIASED, "num_synthetic=35"),
        (*CATEGORICAL, "regime=accumulate", "num_synthetic=35"),
        (*CATEGORICAL, "bias=scaled_latents"),
        (*REGRESSION, "num_synthetic=35"),
    ],
)
def test_no_law_is_drawn_where_a_convention_differs(overrides):
    assert laws(*overrides) == {}


@pytest.mark.parametrize(
    "overrides",
    [
        ("num_synthetic=35", "regime=accumulate"),
        ("num_synthetic=[20,30,40,50]",),
        ("regime=mix_linear",),
        ("regime=golden_ratio",),
        ("regime=accumulate_subsample", "regime.budget=30"),
        ("regime=fresh_real", "data.num_reserve=5", "regime.is_recycled=true"),
    ],
)
def test_only_the_second_moment_has_a_law_where_samples_change_their_number_or_weight(overrides):
    assert set(laws(*GAUSSIAN, *overrides)) == {"fitted/second_moment"}


def with_targets(config, **targets):
    return config | {part: config[part] | {"_target_": target} for part, target in targets.items()}


def test_a_class_is_known_by_its_name_whichever_module_it_is_in():
    config = settings(*GAUSSIAN)
    moved = with_targets(
        config,
        data="collapsar.elsewhere.GaussianSource",
        model="collapsar.models.elsewhere.Gaussian",
        regime="collapsar.Replace",
        selection="collapsar.data.selection.KeepAll",
    )
    assert set(laws_of(moved)) == set(laws_of(config)) != set()


BASES = {
    GAUSSIAN: "variance squared_mean second_moment median_variance",
    UNBIASED: "variance median_variance sd wasserstein log_variance",
    CATEGORICAL: "heterozygosity alive_categories",
    REGRESSION: "regression_error",
    KERNELS: "variance squared_mean second_moment",
    (*GAUSSIAN, "regime=accumulate"): "variance squared_mean second_moment",
    (*GAUSSIAN, "regime=weighted"): "second_moment",
    (*REGRESSION, "regime=accumulate"): "regression_error",
}


def choices(group):
    """What each option of a group but `none` says, by name."""
    files = sorted((config_folder() / group).glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) for path in files if path.stem != "none"}


SWITCHES = {
    **{f"cause=[{name}]": {f"cause.{name}": said} for name, said in choices("cause").items()},
    **{f"correction={name}": {"correction": said} for name, said in choices("correction").items()},
    **{f"selection={name}": {"selection": said} for name, said in choices("selection").items()},
    **{f"lever=[{name}]": flatten(said) for name, said in choices("lever").items()},
    **{f"training.{entry.name}": {f"training.{entry.name}": 1} for entry in fields(Plan)},
    "labelled_by=judge": {"labelled_by": "judge"},
}


@pytest.fixture(scope="module")
def bases():
    return {base: settings(*base) for base in BASES}


def changed(config, dotted):
    """A copy of nested settings in which these dotted keys have other values."""
    copied = OmegaConf.create(config)
    for key, value in dotted.items():
        OmegaConf.update(copied, key, value, force_add=True)
    return OmegaConf.to_container(copied)


@pytest.mark.parametrize(("base", "keys"), BASES.items())
def test_plain_chains_have_their_laws_and_whatever_is_switched_on_takes_all_of_them(base, keys, bases):
    assert set(laws_of(bases[base])) == {f"fitted/{key}" for key in keys.split()}
    assert len(SWITCHES) > 70
    assert [name for name, said in SWITCHES.items() if laws_of(changed(bases[base], said))] == []


@pytest.mark.parametrize("base", BASES)
def test_a_setting_that_no_law_knows_takes_all_laws(base, bases):
    parts = ["data", "model", "regime", "bias", "selection", "training"]
    for key in ["later", *(f"{part}.later" for part in parts), "cause.later.share", "correction.share"]:
        assert laws_of(changed(bases[base], {key: 1})) == {}, key
        assert laws_of(changed(bases[base], {key: None})) != {}, key


@pytest.mark.parametrize(
    "override",
    ["trainer.max_steps=7", "batch_size=8", "num_threads=1", "evaluation=full", "judge=pca", "data.num_test=50"],
)
def test_what_has_no_effect_on_an_analytic_chain_takes_no_law(override, bases):
    for base in (GAUSSIAN, CATEGORICAL, REGRESSION):
        assert set(laws(*base, override)) == set(laws_of(bases[base])) != set()


def test_a_model_that_expects_other_numbers_than_its_data_have_follows_no_law(bases):
    for base, key in ((CATEGORICAL, "num_categories"), (REGRESSION, "num_inputs"), (REGRESSION, "noise_sd")):
        assert laws_of(changed(bases[base], {f"model.{key}": 3})) == {}


@pytest.mark.parametrize("part", ["data", "model", "regime", "bias", "selection"])
@pytest.mark.parametrize("base", [GAUSSIAN, UNBIASED])
def test_a_class_of_somebody_elses_has_no_laws(part, base):
    config = settings(*base)
    name = config[part]["_target_"].rpartition(".")[2]
    assert laws_of(with_targets(config, **{part: f"plugin.collapsar.{name}"})) == {}


def test_a_weighted_regime_of_somebody_elses_pools_has_no_laws():
    config = settings(*GAUSSIAN, "regime=weighted")
    config["regime"]["regime"]["_target_"] = "plugin.FixedReal"
    assert laws_of(config) == {}


@pytest.mark.parametrize(
    ("overrides", "earlier"),
    [
        (GAUSSIAN, "collapsar.data.analytic.Gaussian"),
        (CATEGORICAL, "collapsar.data.analytic.Categorical"),
        (REGRESSION, "collapsar.data.analytic.LinearRegression"),
    ],
)
def test_run_folders_of_classes_with_earlier_names_keep_their_laws(overrides, earlier, tmp_path):
    config = settings(*overrides)
    before = with_targets(config, data=earlier, selection="collapsar.data.selection.KeepAll")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(before))
    (chain,) = read_chains([tmp_path])
    found, expected = laws_of(chain.config), laws_of(config)
    assert {key: law.at(LAST) for key, law in found.items()} == {key: law.at(LAST) for key, law in expected.items()}
    assert len(expected) > 0


def test_a_singular_covariance_has_no_law_for_its_determinant():
    assert "fitted/log_variance" not in laws(*UNBIASED, "model.covariance=full", "data.dimensions=20")


def test_fitted_values_are_the_worked_example():
    found = fitted_gaussian(mean=[1.0, -3.0], variance=[4.0, 0.25])
    assert found == pytest.approx(
        {
            "fitted/variance": 2.125,
            "fitted/squared_mean": 5.0,
            "fitted/second_moment": 7.125,
            "fitted/median_variance": 2.125,
            "fitted/sd": 1.25,
            "fitted/wasserstein": (1 + 1 + 9 + 0.25) / 2,
            "fitted/log_variance": 0.0,
            "fitted/effective_sample_size": 1.5 / 5.625,
        }
    )
    full = fitted_gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.6], [0.6, 1.0]])
    assert full["fitted/log_variance"] == pytest.approx(np.log(0.64) / 2)


def test_a_variance_of_0_has_no_logarithm_and_no_entry():
    assert "fitted/log_variance" not in fitted_gaussian(mean=[0.0], variance=[0.0])


def test_a_network_has_no_fitted_values():
    record = a_record()
    assert values_of(record) is record.metrics


def test_laws_and_fitted_values_are_drawn_and_exported(tmp_path):
    overrides = (*GAUSSIAN, "data.dimensions=20")
    build_and_run(tmp_path / "run", *LOOP, *SCORES, *overrides)
    chains = read_chains([tmp_path / "run"])
    content = chart_content(group_arms(chains))
    law = 1 - formulas.squared_mean_under_replace(2, num_samples=20)
    (drawn,) = content["laws"]["fitted/variance"]
    assert drawn["values"][2] == pytest.approx(law)
    assert drawn["source"] == "Shumailov et al. 2024, Alemohammad et al. 2023"
    exported = tidy(group_arms(chains)).query("metric == 'fitted/variance'")["value"].tolist()
    assert exported == content["curves"]["fitted/variance"][0]["mean"]


def fitted_gaussian(**fitted):
    return fitted_values(fitted, data="gaussian")


def a_record(**fitted):
    return GenerationRecord(
        generation=0,
        seed=0,
        data="gaussian",
        model="gaussian",
        regime="replace",
        pool={},
        num_evaluated=1,
        num_real=1,
        metrics={"fid": 1.0},
        seconds={},
        fitted=fitted,
    )
