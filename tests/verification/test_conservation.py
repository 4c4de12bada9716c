"""The loop itself keeps the second moment of what it is fed: E[mu²] + E[v] stays that of the truth.

From nothing but the records of the command that users run. The second moment of a pool is a martingale under every
regime that draws its samples without looking at them, and mu² + v is that of the pool where the variance is divided by
its size. Given what the regime chose, dimensions are chains of their own, so the standard error is over dimensions.
"""

import json
import math

REGIMES = ["replace", "accumulate", "accumulate_subsample", "fixed_real", "fresh_real"]
NUM_GENERATIONS, SEEDS, DIMENSIONS = 4, (0, 1), 600
SMALL = (
    f"data.dimensions={DIMENSIONS}",
    "data.num_train=20",
    "data.num_test=20",
    "data.num_reserve=20",
    f"num_generations={NUM_GENERATIONS}",
    f"seed={','.join(map(str, SEEDS))}",
    "evaluation.metrics=[support]",
    "evaluation.num_batches=0",
    "evaluation.accelerator=cpu",
    "tracking=none",
)
MOST_STANDARD_ERRORS = 5.0  # beyond it five true values fall in three runs of a million


def fitted(folder, *, arm):
    """The fitted parameters in the records of an arm: by seed, then by generation."""
    chains = [
        [json.loads(line)["fitted"] for line in path.read_text().splitlines()]
        for path in sorted(folder.glob(f"outputs/study/gaussian_gaussian_{arm}_seed*/records.jsonl"))
    ]
    assert len(chains) == len(SEEDS)
    assert {len(chain) for chain in chains} == {NUM_GENERATIONS}
    return chains


def deviation(chains, *, generation):
    """Mean of mu² + v over chains and dimensions, as standard errors from the truth's 1."""
    moments = [
        mean**2 + variance
        for chain in chains
        for mean, variance in zip(chain[generation]["mean"], chain[generation]["variance"], strict=True)
    ]
    assert len(moments) == len(SEEDS) * DIMENSIONS
    average = sum(moments) / len(moments)
    spread = math.sqrt(sum((moment - average) ** 2 for moment in moments) / (len(moments) - 1))
    return (average - 1) / (spread / math.sqrt(len(moments)))


def test_the_second_moment_is_conserved_under_every_unbiased_regime(collapsar, tmp_path):
    code, _ = collapsar("-m", "data=gaussian", "model=gaussian", f"regime={','.join(REGIMES)}", *SMALL)
    assert code == 0
    last = NUM_GENERATIONS - 1
    deviations = {regime: deviation(fitted(tmp_path, arm=regime), generation=last) for regime in REGIMES}
    assert {regime: value for regime, value in deviations.items() if abs(value) > MOST_STANDARD_ERRORS} == {}


def test_it_is_not_where_the_variance_is_divided_by_one_less(collapsar, tmp_path):
    code, _ = collapsar("-m", "data=gaussian", "model=gaussian", "regime=replace", "model.variance=unbiased", *SMALL)
    assert code == 0
    chains = fitted(tmp_path, arm="replace_model.variance-unbiased")
    assert deviation(chains, generation=NUM_GENERATIONS - 1) > MOST_STANDARD_ERRORS
