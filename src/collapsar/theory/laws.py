"""The laws: for each closed form the chains that it holds for, the settings that it reads, and its source.

`collapsar-verify` holds the loop against this table, and the report draws it. A law needs the assumptions of its
derivation: analytic data and model, every sample kept, in most cases as many synthetic samples in each generation as
real ones (n), a fixed regime, and a variance divided as the law says. A chain has no law if any setting outside `READ`
and `WITHOUT_EFFECT` binds it (a cause, a correction, a lever, a labeller, or a later addition). Laws are about fitted
parameters (`fitted`); metrics of drawn samples have biases of their own.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from collapsar.foundations.settings import OURS, binding_settings, is_below
from collapsar.theory import formulas, recursions
from collapsar.theory.law import AnalyticChain, Curve, Law, own_class

SHAPE = ("sample_shape", "dimensions", "num_train", "num_reserve")
READ: Mapping[str, tuple[str, ...]] = {
    "GaussianSource": SHAPE,
    "CategoricalSource": (*SHAPE, "num_categories", "zipf_exponent"),
    "LinearRegressionSource": (*SHAPE, "num_inputs", "noise_sd"),
    "Gaussian": ("sample_shape", "covariance", "variance"),
    "Categorical": ("sample_shape", "num_categories"),
    "LinearRegression": ("sample_shape", "num_inputs", "noise_sd"),
    "KernelDensity": ("sample_shape", "bandwidth", "absolute_bandwidth"),
    **dict.fromkeys(("Replace", "Accumulate", "GoldenRatio", "KeepAll"), ()),
    "Curated": ("favoured_class", "strength", "num_choices", "max_draws_per_sample"),
    "CategorySpace": (),
    "AccumulateSubsample": ("budget",),
    "FixedReal": ("synthetic_ratio",),
    "FreshReal": ("fresh_fraction", "is_recycled"),
    "Mix": ("real_fraction",),
    "Window": ("num_kept",),
    "Weighted": ("real_weight",),
}
"""The classes of parts that have laws, and the settings of each that the laws read."""

SOURCES = {"KernelDensity": "GaussianSource"}  # that models have laws on; others: their namesake
NESTED = "regime.regime"  # the inner regime, whose pools the outer one weighs
# These settings do not change what an analytic model is fitted to.
WITHOUT_EFFECT = ("seed", "data.seed", "data.num_test", "size", "batch_size", "num_threads", "trainer", "evaluation")
LONGEST_RECURSION = 50  # generations; the laws of overlapping pools take cubic time
DERIVED = "derived, see collapsar.theory"
MAD = "Alemohammad et al. 2023"
SHUMAILOV = "Shumailov et al. 2024"


def laws_of(config: Mapping[str, Any]) -> dict[str, Law]:
    """The laws that hold for a chain with these settings, by the key of the fitted parameter; empty for most chains."""
    if not _is_known(config):
        return {}
    laws = {
        "Gaussian": _gaussian,
        "KernelDensity": _kernels,
        "Categorical": _categorical,
        "LinearRegression": _regression,
    }
    found = _curated if own_class(config["selection"]) == "Curated" else laws[own_class(config["model"])]
    return {law.key: law for law in found(AnalyticChain(config))}


def _is_known(config: Mapping[str, Any]) -> bool:
    """Whether the laws know every setting that binds the chain, and its model matches its data."""
    nodes = {part: config.get(part) for part in ("data", "model", "regime", "selection")}
    if own_class(nodes["selection"]) == "Curated":
        nodes["judge"] = config.get("judge")
    if isinstance(nodes["regime"], Mapping) and "regime" in nodes["regime"]:
        nodes[NESTED] = nodes["regime"]["regime"]
    known = [*WITHOUT_EFFECT, "num_synthetic", "bias._target_", "bias.spread"]  # analytic models read the spread
    for part, node in nodes.items():
        keys = READ.get(own_class(node))
        if keys is None:
            return False
        known += [f"{part}.{key}" for key in ("_target_", "_partial_", *keys)]
    data, model = config["data"], config["model"]
    return (
        str(config["bias"].get("_target_", OURS)).startswith(OURS)
        and all(is_below(key, tuple(known)) for key in binding_settings(config))
        and own_class(data) == SOURCES.get(own_class(model), f"{own_class(model)}Source")
        and all(data[key] == model[key] for key in data.keys() & model.keys() - {"_target_"})
    )


def _gaussian(chain: AnalyticChain) -> Iterator[Law]:
    """Laws per dimension, so they hold for the diagonal of a full covariance too; the true distribution is N(0, 1)."""
    n, spread = chain.n, chain.spread
    is_replace = chain.regime == "Replace" and chain.num_synthetic == n > 1
    is_unbiased = chain.config["model"]["variance"] == "unbiased"
    if not is_unbiased and spread == 1:
        yield from _conserved(chain)
    if not is_unbiased and (sizes := chain.fresh_sizes) is not None:
        yield from _with_fresh_real(sizes, spread=spread)
    if spread == 1 and is_replace:
        rate = "(t+1)/(n−1)" if is_unbiased else "2 (t+1)/n"
        median = partial(formulas.median_variance_under_replace, num_samples=n, is_unbiased=is_unbiased)
        formula = f"median about exp(−{rate}), n = {n}"
        yield Law("fitted/median_variance", "median v", formula, MAD, median, "approximation")
    if is_unbiased and is_replace:
        variance = partial(formulas.variance_under_biased_replace, spread=spread)
        formula, source = ("E[v] = 1", f"{MAD}, {SHUMAILOV}") if spread == 1 else (f"E[v] = λ^t, λ = {spread:g}", MAD)
        yield Law("fitted/variance", "E[v]", formula, source, variance)
        if spread == 1:
            yield from _shrinking(chain)


def _conserved(chain: AnalyticChain) -> Iterator[Law]:
    """Maximum likelihood conserves E[μ² + v], so a law for the mean is also one for the variance."""
    total = formulas.SECOND_MOMENT
    if (found := _squared_mean(chain)) is not None:
        formula, source, squared_mean = found
        yield Law("fitted/squared_mean", "E[mu²]", f"E[μ²] = 1 − E[v], E[v] = {formula}", source, squared_mean)
        yield Law("fitted/variance", "E[v]", f"E[v] = {formula}", source, lambda t: total - squared_mean(t))
    yield Law("fitted/second_moment", "E[mu² + v]", "E[μ² + v] = 1", DERIVED, lambda _: total)


def _with_fresh_real(sizes: dict[str, int], *, spread: float) -> Iterator[Law]:
    """Any number of samples a generation, with a bias; what real samples a fit is worth needs fresh ones."""
    moments: partial[recursions.Moments] = partial(recursions.moments_with_fresh_real, **sizes, scale=spread)
    shown = f"a recursion for {sizes['num_fresh']} fresh real samples of {sizes['num_samples']}, λ = {spread:g}"
    if spread != 1:
        yield Law("fitted/squared_mean", "E[mu²]", f"E[μ²] = {shown}", DERIVED, lambda t: moments(t).squared_mean)
        yield Law("fitted/variance", "E[v]", f"E[v] = {shown}", DERIVED, lambda t: moments(t).variance)
    if not sizes["num_fresh"]:
        return
    distance: Curve = lambda t: recursions.wasserstein_of_moments(moments(t))  # noqa: E731
    yield Law("fitted/wasserstein", "E[W2²]", f"E[W₂²], about {shown}", DERIVED, distance, "approximation")
    worth: Mapping[str, tuple[str, Curve]] = {
        "effective_sample_size": ("1.5 / E[W₂²]", lambda t: recursions.effective_sample_size(distance(t))),
        "effective_sample_size_of_mean": ("1 / E[μ²]", lambda t: 1 / moments(t).squared_mean),
    }
    for key, (formula, size) in worth.items():
        yield Law(f"fitted/{key}", f"n_e by {formula}", f"n_e = {formula}, {shown}", MAD, size, "approximation")


def _kernels(chain: AnalyticChain) -> Iterator[Law]:
    """A kernel around each sample adds its variance, an absolute or a relative one, in every generation."""
    model, sizes, share = chain.config["model"], chain.fresh_sizes, chain.real_share
    if chain.spread != 1:
        return
    added, relative = (model.get("absolute_bandwidth") or 0.0) ** 2, 0.0
    if not added:
        dimensions = int(chain.config["data"]["dimensions"])
        if model["bandwidth"] is None and chain.num_synthetic != chain.n:
            return  # Scott's rule depends on the pool's size
        relative = model["bandwidth"] or chain.n ** (-1 / (dimensions + 4))
    kernel = f"h = {added**0.5:g}" if added else f"c = {relative:.3g}"
    if sizes is not None:
        scale = 1 + relative**2
        kernels: dict[str, Any] = {"scale": scale, "added": added}
        moments: partial[recursions.Moments] = partial(recursions.moments_with_fresh_real, **sizes, **kernels)
        shown = f"a recursion for {sizes['num_fresh']} fresh real samples of {sizes['num_samples']}, {kernel}"
        yield Law("fitted/squared_mean", "E[mu²]", f"E[μ²] = {shown}", DERIVED, lambda t: moments(t).squared_mean)
        variance: Curve = lambda t: scale * moments(t).variance + added  # noqa: E731
        yield Law("fitted/variance", "E[v]", f"E[v] = {shown}", DERIVED, variance)
        if not added:
            second: Curve = lambda t: moments(t).squared_mean + variance(t)  # noqa: E731
            yield Law("fitted/second_moment", "E[mu² + v]", f"E[μ² + v] = {shown}", DERIVED, second)
    accumulates = chain.regime in ("Accumulate", "AccumulateSubsample") and chain.is_even
    if not added or (share is None and not accumulates):
        return
    grown = partial(recursions.second_moment_with_kernels, kernel_variance=added, real_share=share)
    formula, source = "1 + h² Σ 1/i for i = 1 … t+1", "Kazdan et al. 2024"
    if share is not None:
        formula = f"1 + h² (1 − (1−a)^(t+1))/a, a = {share:.3g}" if share else "1 + h² (t+1)"
        source = DERIVED
    yield Law("fitted/second_moment", "E[mu² + v]", f"E[μ² + v] = {formula}, {kernel}", source, grown)


def _squared_mean(chain: AnalyticChain) -> tuple[str, str, Curve] | None:
    """The formula of E[v] = 1 - E[μ²], its source, and E[μ²] under the regime; None if no law is known."""
    regime, n = chain.config["regime"], chain.n
    is_short = int(chain.config["num_generations"]) <= LONGEST_RECURSION
    kept = partial(formulas.squared_mean_with_fixed_real, num_real=n)
    match chain.regime:
        case "Weighted" | "GoldenRatio":
            return _squared_mean_with_weights(chain)
        case "Replace" if chain.is_even:
            law: Curve = partial(formulas.squared_mean_under_replace, num_samples=n)
            return f"(1 − 1/n)^(t+1), n = {n}", f"{SHUMAILOV}, {MAD}", law
        case "Replace" | "FreshReal" if (sizes := chain.fresh_sizes) is not None:
            shown = f"a recursion for {sizes['num_fresh']} fresh real samples of {sizes['num_samples']}"
            return shown, DERIVED, lambda t: recursions.moments_with_fresh_real(t, **sizes).squared_mean
        case _ if not chain.is_even:
            return None
        case "Accumulate":
            law = partial(formulas.squared_mean_under_accumulate, num_samples=n)
            return f"∏ (1 − 1/(n i²)) for i = 1 … t+1, n = {n}", "Kazdan et al. 2024", law
        case "AccumulateSubsample" if is_short and regime["budget"] in (None, n):
            law = partial(formulas.squared_mean_of_pools, num_samples=n, num_kept=None, budget=n)
            return f"a recursion for {n} of all samples so far", DERIVED, law
        case "Window" if is_short:
            law = partial(formulas.squared_mean_of_pools, num_samples=n, num_kept=regime["num_kept"], budget=None)
            return f"a recursion for the last {regime['num_kept']} generations of {n}", DERIVED, law
        case "FixedReal" if (drawn := chain.counted(regime["synthetic_ratio"])) >= 0:
            law = partial(kept, num_real_kept=n, num_synthetic=drawn)
            return f"a recursion for {n} real and {drawn} synthetic samples", DERIVED, law
        case "Mix" if (real := chain.counted(regime["real_fraction"])) >= 0:
            law = partial(kept, num_real_kept=real, num_synthetic=n - real)
            return f"a recursion for {real} real and {n - real} synthetic samples", DERIVED, law
    return None


def _squared_mean_with_weights(chain: AnalyticChain) -> tuple[str, str, Curve] | None:
    """The same for weighted pools of as many fresh real samples as the first pool has."""
    regime, n = chain.config["regime"], chain.n
    fresh = chain.counted(regime["regime"].get("fresh_fraction"))
    num_others = chain.num_synthetic - n
    if fresh != n or not chain.lasts(fresh) or num_others < 1:
        return None
    weight = regime["real_weight"] if chain.regime == "Weighted" else formulas.golden_ratio_weight(n / num_others)
    if not isinstance(weight, int | float):
        return None
    formula = f"a recursion for {n} fresh real samples that weigh {weight:.3g}, and {num_others} synthetic ones"
    law = partial(formulas.squared_mean_with_weights, real_weight=weight, num_real=n, num_synthetic=num_others)
    return formula, DERIVED, law


def _shrinking(chain: AnalyticChain) -> Iterator[Law]:
    """Under replace an unbiased variance shrinks, though not in the mean."""
    n = chain.n
    shrinkage, formula = formulas.sd_shrinkage(n), f"E[sd] = a(n)^(t+1), n = {n}"
    yield Law("fitted/sd", "E[sd]", formula, "Bertrand et al. 2024", lambda t: shrinkage ** (t + 1))
    wasserstein = partial(formulas.wasserstein_under_replace, num_samples=n)
    formula, source = f"E[W₂²] = (t+1)/n + 2 (1 − a(n)^(t+1)), n = {n}", "supplementary equation 6"
    yield Law("fitted/wasserstein", "E[W2²]", formula, f"derived, about {SHUMAILOV}, {source}", wasserstein)
    num_dimensions = int(chain.config["data"]["dimensions"]) if chain.config["model"]["covariance"] == "full" else 1
    if num_dimensions < n:  # else the determinant is 0
        change = formulas.log_variance_change(num_samples=n, num_dimensions=num_dimensions)
        formula = f"{change:.4g} (t+1) by Wishart's log-determinant, n = {n}, D = {num_dimensions}"
        symbol = "E[log v]" if num_dimensions == 1 else f"E[log det]/{num_dimensions}"
        yield Law("fitted/log_variance", symbol, formula, "Muirhead 1982, section 3.2", lambda t: change * (t + 1))


def _categorical(chain: AnalyticChain) -> Iterator[Law]:
    """Categories drift as a Gaussian's mean does: as one-hot vectors they are fitted by maximum likelihood too."""
    data, n = chain.config["data"], chain.n
    shares = formulas.zipf_shares(num_categories=data["num_categories"], exponent=data["zipf_exponent"])
    drifts = chain.regime == "Replace" and chain.is_even  # is_even: without bias
    if chain.spread == 1 and (found := _squared_mean(chain)) is not None:
        formula, source, squared_mean = found
        source = f"Wright 1931, {SHUMAILOV}" if drifts else source
        law: Curve = lambda t: recursions.heterozygosity(1 - squared_mean(t), shares=shares)  # noqa: E731
        yield Law("fitted/heterozygosity", "E[1 - sum p²]", f"E[1 − Σp²] = H₀ · {formula}", source, law)
    if drifts:
        alive = partial(formulas.alive_categories_lower_bound, num_samples=n, shares=shares)
        formula = f"at least Σ (1 − exp(−n p g)), n = {n}"
        yield Law("fitted/alive_categories", "E[alive], at least", formula, "Suresh et al. 2024", alive, "lower bound")


def _curated(chain: AnalyticChain) -> Iterator[Law]:
    """Categories that people choose, in the limit of many samples, which do not drift."""
    data, selection, real_share = chain.config["data"], chain.config["selection"], chain.real_share
    if own_class(chain.config["model"]) != "Categorical" or chain.spread != 1 or real_share is None:
        return
    real = formulas.zipf_shares(num_categories=data["num_categories"], exponent=data["zipf_exponent"])
    liked, num_choices = selection["favoured_class"], selection.get("num_choices")
    rule = {"strength": selection["strength"], "num_choices": num_choices}
    favoured = [liked] if isinstance(liked, int) else list(liked)

    def shares(generation: int) -> list[float]:
        found = real
        for _ in range(generation):
            chosen = recursions.curated_shares(found, favoured=favoured, **rule)
            found = [real_share * own + (1 - real_share) * new for own, new in zip(real, chosen, strict=True)]
        return found

    among = "many" if num_choices is None else num_choices
    shown = f"p' = p E[K e^r / Σ e^r], K = {among}, a real share of {real_share:.3g}"
    laws: Mapping[str, tuple[str, Curve]] = {
        "heterozygosity": ("1 - sum p²", lambda t: 1 - sum(share**2 for share in shares(t))),
        "entropy": ("entropy", lambda t: recursions.entropy(shares(t))),
    }
    for key, (symbol, law) in laws.items():
        yield Law(f"fitted/{key}", symbol, f"{symbol} by {shown}", "Ferbach et al. 2024", law, "approximation")


def _regression(chain: AnalyticChain) -> Iterator[Law]:
    """With T samples, d inputs and noise s²; every generation answers the same inputs, as the laws assume."""
    num_inputs, noise_sd, n = chain.config["data"]["num_inputs"], chain.config["data"]["noise_sd"], chain.n
    accumulates = chain.regime == "Accumulate"
    if chain.regime not in ("Replace", "Accumulate") or not chain.is_even or n < num_inputs + 2:
        return
    settings = {"num_samples": n, "num_inputs": num_inputs, "noise_variance": noise_sd**2}
    growth, source = ("Σ 1/i²", "Gerstgrasser et al. 2024") if accumulates else ("(t+1)", "Dohmatob et al. 2024")
    formula = f"s² d/(T−d−1) · {growth}, T = {n}, d = {num_inputs}"
    law = partial(formulas.regression_error, accumulates=accumulates, **settings)
    yield Law("fitted/regression_error", "E|w - w*|²", formula, source, law)
