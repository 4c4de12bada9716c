"""Which closed forms hold for a chain, decided from its resolved settings; `collapsar.theory` has the formulas.

A law needs the assumptions of its derivation: analytic data and model, every sample kept, as many synthetic samples in
each generation as real ones (n), a fixed regime, and a variance divided as the law says. A chain has no law if any
setting outside `READ` and `WITHOUT_EFFECT` binds it (a cause, a correction, a lever, a labeller, or a later addition).
Generation t has been fitted t + 1 times. Laws are about fitted parameters (`collapsar.study.fitted`); metrics of drawn
samples have biases of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from collapsar import theory
from collapsar.data.schedules import nearest
from collapsar.records.settings import OURS, binding_settings, class_name, is_below

SHAPE = ("sample_shape", "dimensions", "num_train", "num_reserve")
READ: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "data": {
        "GaussianSource": SHAPE,
        "CategoricalSource": (*SHAPE, "num_categories", "zipf_exponent"),
        "LinearRegressionSource": (*SHAPE, "num_inputs", "noise_sd"),
    },
    "model": {
        "Gaussian": ("sample_shape", "covariance", "variance"),
        "Categorical": ("sample_shape", "num_categories"),
        "LinearRegression": ("sample_shape", "num_inputs", "noise_sd"),
    },
    "regime": {
        "Replace": (),
        "Accumulate": (),
        "AccumulateSubsample": ("budget",),
        "FixedReal": ("synthetic_ratio",),
        "FreshReal": ("fresh_fraction", "is_recycled"),
        "Mix": ("real_fraction",),
        "Window": ("num_kept",),
        "Weighted": ("real_weight",),
        "GoldenRatio": (),
    },
    "selection": {"KeepAll": ()},
}
"""The classes that have laws, by part, and the settings of each that the laws read."""

NESTED = "regime.regime"  # the inner regime, whose pools the outer one weighs
WITHOUT_EFFECT = (  # these settings do not change what an analytic model is fitted to
    "seed",
    "data.seed",
    "data.num_test",
    "size",
    "batch_size",
    "num_threads",
    "trainer",
    "evaluation",
)
LONGEST_RECURSION = 50  # generations; the laws of overlapping pools take cubic time
DERIVED = "derived, see collapsar.theory"
MAD = "Alemohammad et al. 2023"
SHUMAILOV = "Shumailov et al. 2024"

Curve = Callable[[int], float]


@dataclass(frozen=True, kw_only=True)
class LawCurve:
    """What a law expects of a fitted parameter.

    Attributes:
        formula: The law in one line.
        source: Who derived it.
        at: The expected value at a generation.
    """

    formula: str
    source: str
    at: Curve


@dataclass(frozen=True, kw_only=True)
class AnalyticChain:
    """A chain of analytic data as the laws need it.

    Attributes:
        parts: Class names of data, model and regime; empty for a class that is not ours.
        config: All settings.
        num_samples: n; 0 if a generation draws another number of samples than the real data have.
        spread: lambda of the sampling bias; 1 without bias.
    """

    parts: tuple[str, str, str]
    config: Mapping[str, Any]
    num_samples: int
    spread: float


def laws_of(config: Mapping[str, Any]) -> dict[str, LawCurve]:
    """The laws that hold for a chain with these settings, by the key of the fitted parameter; empty for most chains."""
    chain = _analytic_chain(config)
    if chain is None:
        return {}
    match chain.parts:
        case "GaussianSource", "Gaussian", _:
            return _gaussian_laws(chain)
        case "CategoricalSource", "Categorical", "Replace":
            return _categorical_laws(chain)
        case "LinearRegressionSource", "LinearRegression", "Replace" | "Accumulate":
            return _regression_laws(chain)
    return {}


def _analytic_chain(config: Mapping[str, Any]) -> AnalyticChain | None:
    """The chain; None if a setting unknown to the laws binds it, or its model does not match its data."""
    known = _known_settings(config)
    if known is None or not all(is_below(key, known) for key in binding_settings(config)):
        return None
    data, model = config["data"], config["model"]
    if any(
        model.get(key, data[key]) != data[key] for key in ("num_categories", "num_inputs", "noise_sd") if key in data
    ):
        return None
    num_real = int(data["num_train"])
    return AnalyticChain(
        parts=(_class_name(data), _class_name(model), _class_name(config["regime"])),
        config=config,
        num_samples=num_real if config["num_synthetic"] in (None, num_real) else 0,
        spread=float(config["bias"]["spread"]),
    )


def _known_settings(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Dotted keys that the laws read or that have no effect; None if a part is of a class without laws."""
    nodes = {part: config.get(part) for part in READ}
    if isinstance(nodes["regime"], Mapping) and "regime" in nodes["regime"]:
        nodes[NESTED] = nodes["regime"]["regime"]
    known = [*WITHOUT_EFFECT, "num_synthetic", "bias._target_", "bias.spread"]  # analytic models read the spread
    for part, node in nodes.items():
        keys = READ[part.partition(".")[0]].get(_class_name(node))
        if keys is None:
            return None
        known += [f"{part}.{key}" for key in ("_target_", "_partial_", *keys)]
    is_ours = str(config["bias"].get("_target_", OURS)).startswith(OURS)
    return tuple(known) if is_ours else None


def _class_name(node: Any) -> str:
    """A part's class name without its module; empty for a class that is not ours, which may do anything."""
    target = str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
    return class_name(target) if target.startswith(OURS) else ""


def _gaussian_laws(chain: AnalyticChain) -> dict[str, LawCurve]:
    """Laws per dimension, so they hold for the diagonal of a full covariance too; the true distribution is N(0, 1)."""
    is_unbiased = chain.config["model"]["variance"] == "unbiased"
    is_replace = chain.parts[2] == "Replace" and chain.num_samples > 1
    laws: dict[str, LawCurve] = {}
    if chain.spread == 1 and not is_unbiased:
        laws |= _conservation(chain)
    if chain.spread == 1 and is_replace:
        laws["fitted/median_variance"] = _median_variance(chain.num_samples, is_unbiased=is_unbiased)
    if is_unbiased and is_replace:
        laws |= _unbiased_laws(chain)
    return laws


def _conservation(chain: AnalyticChain) -> dict[str, LawCurve]:
    """Maximum likelihood conserves E[μ² + v], so a law for the mean is also one for the variance."""
    second_moment = theory.conserved_second_moment(real_mean=0.0, real_variance=1.0)
    laws = {"fitted/second_moment": LawCurve(formula="E[μ² + v] = 1", source=DERIVED, at=lambda _: second_moment)}
    if (found := _squared_mean(chain)) is not None:
        formula, source, squared_mean = found
        laws["fitted/variance"] = LawCurve(
            formula=f"E[v] = {formula}", source=source, at=lambda generation: second_moment - squared_mean(generation)
        )
        laws["fitted/squared_mean"] = LawCurve(
            formula=f"E[μ²] = 1 − E[v], E[v] = {formula}", source=source, at=squared_mean
        )
    return laws


def _squared_mean(chain: AnalyticChain) -> tuple[str, str, Curve] | None:
    """The formula of E[v] = 1 - E[μ²], its source, and E[μ²] under the regime; None if no law is known."""
    regime, n = chain.config["regime"], chain.num_samples
    is_short = int(chain.config["num_generations"]) <= LONGEST_RECURSION
    sized: dict[str, Any] = {"num_samples": n, "real_variance": 1.0}
    match chain.parts[2]:
        case _ if not n:
            return None
        case "Replace":
            law: Curve = partial(theory.squared_mean_under_replace, **sized)
            return f"(1 − 1/n)^(t+1), n = {n}", f"{SHUMAILOV}, {MAD}", law
        case "Accumulate":
            variance: Curve = partial(theory.variance_under_accumulate, **sized)
            return f"∏ (1 − 1/(n i²)) for i = 1 … t+1, n = {n}", "Kazdan et al. 2024", lambda t: 1 - variance(t)
        case "AccumulateSubsample" if is_short and regime["budget"] in (None, n):
            law = partial(theory.squared_mean_under_accumulate_subsample, **sized)
            return f"a recursion for {n} of all samples so far", DERIVED, law
        case "Window" if is_short:
            law = partial(theory.squared_mean_under_window, num_kept=regime["num_kept"], **sized)
            return f"a recursion for the last {regime['num_kept']} generations of {n}", DERIVED, law
        case "FixedReal" | "Mix" | "FreshReal":
            return _squared_mean_with_real(chain)
    return None


def _squared_mean_with_real(chain: AnalyticChain) -> tuple[str, str, Curve] | None:
    """The same for regimes that keep a constant number of real samples in every pool."""
    regime, n = chain.config["regime"], chain.num_samples
    share = regime[
        {"FixedReal": "synthetic_ratio", "Mix": "real_fraction", "FreshReal": "fresh_fraction"}[chain.parts[2]]
    ]
    if not isinstance(share, int | float) or share > 1:
        return None
    counted = nearest(share * n)
    if chain.parts[2] == "FreshReal":
        if counted * (int(chain.config["num_generations"]) - 1) > chain.config["data"]["num_reserve"]:
            return None
        law: Curve = partial(
            theory.squared_mean_with_fresh_real, num_samples=n, fresh_fraction=counted / n, real_variance=1.0
        )
        return f"a recursion for {counted} fresh real samples of {n}", DERIVED, law
    num_real, num_synthetic = (n, counted) if chain.parts[2] == "FixedReal" else (counted, n - counted)
    law = partial(
        theory.squared_mean_with_fixed_real,
        num_real=n,
        num_real_kept=num_real,
        num_synthetic=num_synthetic,
        real_variance=1.0,
    )
    return f"a recursion for {num_real} real and {num_synthetic} synthetic samples", DERIVED, law


def _median_variance(num_samples: int, *, is_unbiased: bool) -> LawCurve:
    rate = "(t+1)/(n−1)" if is_unbiased else "2 (t+1)/n"
    return LawCurve(
        formula=f"median about exp(−{rate}), n = {num_samples}",
        source=MAD,
        at=partial(
            theory.median_variance_under_replace, num_samples=num_samples, real_variance=1.0, is_unbiased=is_unbiased
        ),
    )


def _unbiased_laws(chain: AnalyticChain) -> dict[str, LawCurve]:
    """Laws under replace for variances divided by n - 1."""
    n, spread = chain.num_samples, chain.spread
    variance: Curve = partial(theory.variance_under_biased_replace, spread=spread, real_variance=1.0)
    if spread < 1:
        return {"fitted/variance": LawCurve(formula=f"E[v] = λ^t, λ = {spread:g}", source=MAD, at=variance)}
    laws = {
        "fitted/variance": LawCurve(formula="E[v] = 1", source=f"{MAD}, {SHUMAILOV}", at=variance),
        "fitted/sd": LawCurve(
            formula=f"E[sd] = a(n)^(t+1), n = {n}",
            source="Bertrand et al. 2024",
            at=partial(theory.sd_under_replace, num_samples=n, real_sd=1.0),
        ),
        "fitted/wasserstein": LawCurve(
            formula=f"E[W₂²] = (t+1)/n + 2 (1 − a(n)^(t+1)), n = {n}",
            source=f"derived, about {SHUMAILOV}, supplementary equation 6",
            at=partial(theory.wasserstein_under_replace, num_samples=n, real_variance=1.0),
        ),
    }
    return laws | _log_variance(chain)


def _log_variance(chain: AnalyticChain) -> dict[str, LawCurve]:
    is_full = chain.config["model"]["covariance"] == "full"
    num_dimensions = int(chain.config["data"]["dimensions"]) if is_full else 1
    if num_dimensions >= chain.num_samples:
        return {}  # the determinant is 0
    change = theory.log_variance_change(num_samples=chain.num_samples, num_dimensions=num_dimensions)
    formula = f"{change:.4g} (t+1) by Wishart's log-determinant, n = {chain.num_samples}, D = {num_dimensions}"
    return {
        "fitted/log_variance": LawCurve(
            formula=formula, source="Muirhead 1982, section 3.2", at=lambda t: change * (t + 1)
        )
    }


def _categorical_laws(chain: AnalyticChain) -> dict[str, LawCurve]:
    if not chain.num_samples or chain.spread != 1:
        return {}
    data = chain.config["data"]
    shares = theory.zipf_shares(num_categories=data["num_categories"], exponent=data["zipf_exponent"])
    sized: dict[str, Any] = {"num_samples": chain.num_samples, "shares": shares}
    return {
        "fitted/heterozygosity": LawCurve(
            formula=f"E[1 − Σp²] = (1 − 1/n)^(t+1) H₀, n = {chain.num_samples}",
            source="Wright 1931, Shumailov et al. 2024",
            at=partial(theory.heterozygosity_under_replace, **sized),
        ),
        "fitted/alive_categories": LawCurve(
            formula=f"at least Σ (1 − exp(−n p g)), n = {chain.num_samples}",
            source="Suresh et al. 2024",
            at=partial(theory.alive_categories_lower_bound, **sized),
        ),
    }


def _regression_laws(chain: AnalyticChain) -> dict[str, LawCurve]:
    """With T samples, d inputs and noise s²; every generation answers the same inputs, as the laws assume."""
    num_inputs, noise_sd = chain.config["data"]["num_inputs"], chain.config["data"]["noise_sd"]
    if chain.spread != 1 or chain.num_samples < num_inputs + 2:
        return {}
    is_replace = chain.parts[2] == "Replace"
    law = theory.regression_error_under_replace if is_replace else theory.regression_error_under_accumulate
    return {
        "fitted/regression_error": LawCurve(
            formula=f"s² d/(T−d−1) · {'(t+1)' if is_replace else 'Σ 1/i²'}, T = {chain.num_samples}, d = {num_inputs}",
            source="Dohmatob et al. 2024" if is_replace else "Gerstgrasser et al. 2024",
            at=partial(law, num_samples=chain.num_samples, num_inputs=num_inputs, noise_variance=noise_sd**2),
        )
    }
