"""The verifier passes on the code as it is, and one per cent off anywhere makes it fail."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from rich.console import Console

from collapsar.data import regimes, weighting
from collapsar.data.pool import REAL, Part
from collapsar.foundations.samples import Samples
from collapsar.models.analytic import analytic
from collapsar.theory import formulas, recursions
from collapsar.theory.laws import laws_of
from collapsar.verification import protocols as protocols_module
from collapsar.verification.__main__ import main
from collapsar.verification.protocols import protocols
from collapsar.verification.verify import Check, as_table, check

NUM_CHECKS = 131
APPROXIMATIONS = {"median v", "n_e by 1.5 / E[W₂²]", "n_e by 1 / E[μ²]"}
REGIMES = [
    regimes.Replace,
    regimes.Accumulate,
    regimes.AccumulateSubsample,
    regimes.FixedReal,
    regimes.FreshReal,
    regimes.Mix,
    regimes.Window,
    weighting.Weighted,
    weighting.GoldenRatio,
]


def regime_protocol(name, *, num_samples):
    (protocol,) = [
        protocol
        for protocol in protocols_module.regime_protocols(num_samples=num_samples)
        if protocol.regime.func.name == name
    ]
    return protocol


def few_blocks(name):
    """Pools of 100 in a fifth of the blocks: if these notice, all will. Only a subsample is too variable for that."""
    protocol = regime_protocol(name, num_samples=100)
    return protocol if name == "accumulate_subsample" else replace(protocol, num_blocks=20)


def broken(protocol):
    """Names of the laws that fail."""
    return [result.law for result in check(protocol, seed=0, num_checks=NUM_CHECKS) if not result.passed]


def plant(monkeypatch, regime_class, damage):
    """Let the regime's own rule do its work, then damage the pool it made."""
    rule = regime_class.next_pool

    def damaged(self, pool, **arguments):
        made = rule(self, pool, **arguments)
        return damage(made, arguments["real"])

    monkeypatch.setattr(regime_class, "next_pool", damaged)


def with_parts(pool, change):
    """The pool with the last, synthetic part changed."""
    return replace(pool, parts=(*pool.parts[:-1], change(pool.parts[-1])))


def inflate(pool, real):
    return with_parts(pool, lambda part: Part(Samples(1.01 * part.samples.values), part.origin))


def shift(pool, real):
    return with_parts(pool, lambda part: Part(Samples(part.samples.values + 0.1), part.origin))


def lose(pool, real):
    return with_parts(pool, lambda part: part[: len(part) - max(len(part) // 100, 1)])


def leak(pool, real):
    """One synthetic sample of a hundred is a real one, and says that it is not."""

    def swap(part):
        num_leaked = max(len(part) // 100, 1)
        values = torch.cat([real.samples.values[:num_leaked], part.samples.values[num_leaked:]])
        return Part(Samples(values), part.origin)

    return with_parts(pool, swap)


def repeat(pool, real):
    """Three samples of a hundred stand twice, in place of others."""

    def swap(part):
        num_repeated = 3 * len(part) // 100
        return part[torch.cat([torch.arange(num_repeated), torch.arange(len(part) - num_repeated)])]

    return with_parts(pool, swap)


@pytest.mark.parametrize("regime_class", REGIMES, ids=lambda regime_class: regime_class.name)
@pytest.mark.parametrize("damage", [inflate, shift, lose, leak], ids=lambda damage: damage.__name__)
def test_a_regime_that_is_one_per_cent_wrong_fails(monkeypatch, regime_class, damage):
    plant(monkeypatch, regime_class, damage)
    assert broken(few_blocks(regime_class.name))


@pytest.mark.slow
def test_repeated_samples_are_noticed(monkeypatch):
    plant(monkeypatch, regimes.Replace, repeat)
    assert "E[mu²], n=100" in broken(regime_protocol("replace", num_samples=100))


def test_lying_about_the_real_share_is_noticed(monkeypatch):
    def mislabel(pool, real):
        return with_parts(pool, lambda part: Part(part.samples, REAL))

    plant(monkeypatch, regimes.Replace, mislabel)
    assert broken(few_blocks("replace")) == ["real weight, n=100", "undeclared real weight, n=100"]


def test_a_weight_one_per_cent_off_fails(monkeypatch):
    weigh = weighting.weigh_real
    monkeypatch.setattr(weighting, "weigh_real", lambda pool, real_weight: weigh(pool, real_weight=1.01 * real_weight))
    assert broken(few_blocks("golden_ratio")) == ["real weight, n=100"]


def unbiased_protocol(number):
    return protocols_module.unbiased_protocols()[number]


LAWS = {
    "squared_mean_under_replace": lambda: regime_protocol("replace", num_samples=10),
    "squared_mean_under_accumulate": lambda: regime_protocol("accumulate", num_samples=10),
    "squared_mean_with_fixed_real": lambda: regime_protocol("fixed_real", num_samples=10),
    "squared_mean_of_pools": lambda: regime_protocol("window", num_samples=10),
    "squared_mean_with_weights": lambda: regime_protocol("weighted", num_samples=10),
    "sd_shrinkage": lambda: unbiased_protocol(0),
    "wasserstein_under_replace": lambda: unbiased_protocol(0),
    "log_variance_change": lambda: unbiased_protocol(1),
    "variance_under_biased_replace": lambda: unbiased_protocol(2),
    "alive_categories_lower_bound": lambda: replace(protocols_module.CATEGORIES),
    "heterozygosity": protocols_module.drift_with_real_protocol,
    "first_passage_share": protocols_module.passage_protocol,
    "second_moment_with_kernels": lambda: protocols_module.kernel_protocols()[0],
    "regression_error": lambda: protocols_module.regression_protocol(partial(regimes.Replace)),
}
ELSEWHERE = [
    ("squared_mean_of_pools", lambda: regime_protocol("accumulate_subsample", num_samples=10)),
    ("second_moment_with_kernels", lambda: protocols_module.kernel_protocols()[1]),
    ("heterozygosity", lambda: replace(protocols_module.CATEGORIES)),
    ("regression_error", lambda: protocols_module.regression_protocol(partial(regimes.Accumulate))),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "protocol"), [*LAWS.items(), *ELSEWHERE])
def test_a_law_that_is_one_per_cent_wrong_fails(monkeypatch, name, protocol):
    module = formulas if hasattr(formulas, name) else recursions
    law = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: 1.01 * law(*args, **kwargs))
    assert broken(protocol())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "protocol"),
    [
        *((part, protocols_module.biased_protocol) for part in ("squared_mean", "variance")),
        ("squared_mean", lambda: regime_protocol("fresh_real", num_samples=10)),
        *(("variance", lambda number=number: protocols_module.kernel_protocols()[number]) for number in (0, 3, 4)),
    ],
)
def test_a_moment_that_is_one_per_cent_wrong_fails(monkeypatch, part, protocol):
    law = recursions.moments_with_fresh_real

    def wrong(*args, **kwargs):
        found = law(*args, **kwargs)
        return replace(found, **{part: 1.01 * getattr(found, part)})

    monkeypatch.setattr(recursions, "moments_with_fresh_real", wrong)
    assert broken(protocol())


@pytest.mark.slow
def test_a_share_of_takeovers_one_per_cent_off_fails():
    protocol = protocols_module.takeover_protocol()
    wrong = [replace(each, expected=1.01 * each.expected) for each in protocol.others]
    assert broken(replace(protocol, others=wrong)) == ["P(first takes over)"]


@pytest.mark.slow
def test_a_second_moment_that_is_one_per_cent_wrong_fails(monkeypatch):
    monkeypatch.setattr(formulas, "SECOND_MOMENT", 1.01)
    assert broken(regime_protocol("replace", num_samples=10)) == ["E[v], n=10", "E[mu² + v], n=10"]


@pytest.mark.slow
def test_an_unbiased_variance_that_is_one_per_cent_wrong_fails(monkeypatch):
    monkeypatch.setattr(formulas, "variance_under_biased_replace", lambda *args, **kwargs: 1.01)
    assert broken(unbiased_protocol(0)) == ["E[v], unbiased"]


def test_every_formula_is_one_that_verification_reads():
    public = {
        name
        for module in (formulas, recursions)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
    }
    indirect = {"golden_ratio_weight", "zipf_shares", "nearest"}
    indirect |= {"Moments", "moments_with_fresh_real"}
    approximations = {"median_variance_under_replace", "wasserstein_of_moments", "effective_sample_size"}
    approximations |= {"curated_shares", "entropy"}
    assert public == {*LAWS, *indirect, *approximations}


def test_a_run_checks_every_law_that_is_drawn_but_approximations():
    drawn = {law.symbol for protocol in protocols() for law in laws_of(protocol.config).values()}
    checked = {statistic.name for protocol in protocols() for statistic in protocol.statistics}
    assert {symbol for symbol in drawn if not any(name.startswith(symbol) for name in checked)} == APPROXIMATIONS
    assert sum(len(protocol.statistics) for protocol in protocols()) == NUM_CHECKS


def test_a_model_that_divides_by_one_less_fails(monkeypatch):
    fit = analytic.Gaussian.fit

    def unbiased(self, samples, **arguments):
        self.is_unbiased = True
        fit(self, samples, **arguments)

    monkeypatch.setattr(analytic.Gaussian, "fit", unbiased)
    assert "E[v], n=100" in broken(few_blocks("replace"))


def test_every_regime_is_verified_in_large_and_small_pools():
    verified = [protocol.regime.func.name for protocol in protocols()]
    for regime_class in REGIMES:
        assert verified.count(regime_class.name) >= 2
    below = list(regimes.Regime.__subclasses__())
    for regime in below:
        below += regime.__subclasses__()
    concrete = {regime.__name__ for regime in below if "name" in vars(regime)}
    assert concrete == {regime_class.__name__ for regime_class in REGIMES}


def test_blocks_are_chains_of_their_own():
    protocol = regime_protocol("replace", num_samples=100)
    first, again, other = (protocol.run(seed).models[-1].get_buffer("mean") for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def small_run():
    """Two protocols with few blocks, for what does not depend on their size."""
    return [replace(regime_protocol(name, num_samples=100), num_blocks=5) for name in ("replace", "mix")]


def test_the_command_writes_its_checks_and_says_that_all_is_well(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("collapsar.verification.protocols.protocols", small_run)
    assert main(["--output", str(tmp_path / "verify.json")]) == 0
    written = json.loads((tmp_path / "verify.json").read_text())
    assert len(written) == 12
    fields = {"law", "regime", "measured", "expected", "standard_error", "z", "passed"}
    assert {frozenset(entry) for entry in written} == {frozenset(fields)}
    assert "12 of 12 laws hold" in capsys.readouterr().out


def test_the_command_fails_when_a_regime_is_broken(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("collapsar.verification.protocols.protocols", small_run)
    plant(monkeypatch, regimes.Mix, lose)
    assert main(["--output", str(tmp_path / "verify.json")]) == 1
    assert "FAILED" in capsys.readouterr().out
    failed = [entry for entry in json.loads((tmp_path / "verify.json").read_text()) if not entry["passed"]]
    assert {entry["regime"] for entry in failed} == {"mix"}
    assert {entry["law"]: entry["z"] for entry in failed}["pool size, n=100"] is None


def test_the_table_shows_every_check():
    console = Console(width=120, record=True, quiet=True)
    wrong = Check(law="a", regime="b", measured=1.0, expected=2.0, standard_error=0.0, z=None, passed=False)
    console.print(as_table([wrong, wrong]))
    assert as_table([wrong, wrong]).row_count == 2


@pytest.mark.slow
def test_everything_holds():
    results = [result for protocol in protocols() for result in check(protocol, seed=1, num_checks=NUM_CHECKS)]
    assert [result for result in results if not result.passed] == []


def test_a_mistake_is_one_line_and_exit_code_2_before_a_chain_runs(tmp_path, capsys):
    for options, text in (
        (["--seed", "-1"], "--seed must be at least 0: got -1"),
        (["-o", str(tmp_path)], "directory"),
    ):
        assert main(options) == 2
        err = capsys.readouterr().err
        assert err.startswith("collapsar-verify: ")
        assert (text in err, err.count("\n")) == (True, 1)
