"""The judge on planted numbers and chains."""

import numpy as np
import pytest
from planted_chains import PLAIN, chain

from collapsar.findings.finding import Finding, Statistic
from collapsar.findings.judge import judge_finding, judge_values
from collapsar.findings.values import Evidence, seed_values

CONFIG = {"seed": 0, "num_generations": 4, "data": {"sample_shape": [2]}}
IMAGES = CONFIG | {"data": {"sample_shape": [1, 8, 8]}}


def statistic(**given):
    plain = {"name": "own", "arm": "treated", "metric": "recall", "generations": [1, 3]}
    return Statistic.model_validate(plain | {"reproduced": [0.1, None], "contradicted": [[None, -0.1]]} | given)


def finding(*statistics, **given):
    return Finding.model_validate(PLAIN | {"name": "planted", "statistics": statistics} | given)


def around(mean, *, sd=0.01, num=10):
    values = np.random.default_rng(0).normal(size=num)
    return (mean + sd * (values - values.mean()) / values.std(ddof=1)).tolist()


def evidence(*, treated, plain, config=CONFIG, **of_chain):
    """Chains whose curves are a value (by seed) in each generation."""
    arms = {"treated": treated, "plain": plain}
    chains = {
        arm: {
            seed: chain({key: [curve[seed]] * 4 for key, curve in own.items()}, seed=seed, config=config, **of_chain)
            for seed in range(len(next(iter(own.values()))))
        }
        for arm, own in arms.items()
    }
    return Evidence(chains=chains, configs={"treated": config, "plain": config})


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0.2, "reproduced"), (0.105, "undecided"), (0.0, "undecided"), (-0.105, "undecided"), (-0.2, "contradicted")],
)
def test_an_interval_inside_a_region_decides(mean, verdict):
    assert judge_values(statistic(), around(mean)).verdict == verdict


def test_the_interval_holds_99_percent():
    found = judge_values(statistic(), around(0.2)).interval
    assert (found.high - found.low) / 2 == pytest.approx(3.2498 * 0.01 / 10**0.5, rel=1e-4)


def test_two_seeds_are_needed():
    assert judge_values(statistic(), [5.0]).verdict == "undecided"


@pytest.mark.parametrize(
    ("errors", "verdict"), [(0, "reproduced"), (2.9, "reproduced"), (3.5, "undecided"), (4.1, "contradicted")]
)
def test_a_law_holds_within_three_standard_errors_and_is_broken_beyond_four(errors, verdict):
    values = around(1.0, sd=0.01)  # a standard error of .32 %
    law = 1.0 + errors * 0.01 / 10**0.5
    own = statistic(reproduced=None, contradicted=[], expected=1.0)
    assert judge_values(own, values, expected=law).verdict == verdict


def test_a_law_is_undecided_if_the_precision_is_below_one_percent():
    own = statistic(reproduced=None, contradicted=[], expected=1.0)
    found = judge_values(own, around(1.0, sd=0.05), expected=1.0)
    assert (found.verdict, found.reason) == ("undecided", "standard error 1.6%, more than 1%")


def test_a_finding_is_contradicted_if_one_statistic_is():
    two = finding(statistic(minus="plain"), statistic(name="other", metric="precision", minus="plain"))
    low, high = around(0.2), around(0.8)
    both = {"recall": high, "precision": high}
    assert (
        judge_finding(two, evidence(treated=both, plain={"recall": low, "precision": low}), look=10).verdict
        == "reproduced"
    )
    one = evidence(treated=both, plain={"recall": low, "precision": around(1.5)})
    assert judge_finding(two, one, look=10).verdict == "contradicted"


def test_a_control_fails_if_swapped_arms_are_reproduced():
    wide = finding(statistic(reproduced=[0, 1], contradicted=[[2, 3]]))
    controls = judge_finding(
        wide, evidence(treated={"recall": around(0.5)}, plain={"recall": around(0.6)}), look=10
    ).controls
    assert [(control.name, control.held) for control in controls] == [("arms swapped", False)]


@pytest.mark.parametrize(
    ("sd", "held", "text"),
    [
        (0.01, True, "contradicted and contradicted"),
        (0.03, False, "reproduced and reproduced"),
        (0.0175, False, "undecided and undecided"),  # too few samples to reject it
    ],
)
def test_a_control_fails_unless_a_law_off_by_two_percent_is_rejected(sd, held, text):
    own = statistic(reproduced=None, contradicted=[], expected=1.0)
    found = evidence(treated={"recall": around(1.0, sd=sd)}, plain={"recall": around(3.0)})
    controls = judge_finding(finding(own, tier="exact"), found, look=10).controls
    law = ("own: a law off by 2 %", held, text)
    assert [(control.name, control.held, control.text) for control in controls] == [
        ("arms swapped", True, "contradicted"),
        law,
    ]


def test_a_chain_that_broke_down_counts_as_the_worst_and_is_shown():
    own = finding(statistic(minus="plain"))
    plain = {seed: chain({"recall": [0.5] * 4}, seed=seed, config=CONFIG) for seed in (0, 1)}
    dead = chain({"recall": [0.9]}, seed=1, config=CONFIG, ending="broke down", problem="broke down after 1 of 4")
    treated = {0: chain({"recall": [0.9] * 4}, seed=0, config=CONFIG), 1: dead}
    found = Evidence(chains={"treated": treated, "plain": plain}, configs={"treated": CONFIG, "plain": CONFIG})
    assert seed_values(own, own.statistics[0], found) == {0: pytest.approx(0.4), 1: -0.5}
    assert judge_finding(own, found, look=2).dead == ["chain of seed 1: broke down after 1 of 4"]


def test_a_metric_without_a_worst_finite_value_is_undecided_once_a_chain_broke_down():
    own = finding(statistic(metric="fid", reproduced=[0, 9], contradicted=[[10, None]]))
    dead = chain({"fid": [1.0]}, seed=1, config=CONFIG, ending="broke down", problem="broke down after 1 of 4")
    chains = {"treated": {0: chain({"fid": [1.0] * 4}, seed=0, config=CONFIG), 1: dead}, "plain": {}}
    judged = judge_finding(own, Evidence(chains=chains, configs={}), look=2).judged[0]
    assert (judged.verdict, judged.reason) == ("undecided", "its worst value is infinite")


def test_an_open_chain_decides_nothing():
    own = finding(statistic())
    chains = {seed: chain({"recall": [0.9]}, seed=seed, config=CONFIG, problem="unfinished") for seed in range(5)}
    found = Evidence(chains={"treated": chains, "plain": chains}, configs={"treated": CONFIG, "plain": CONFIG})
    assert judge_finding(own, found, look=5).judged[0].reason == "it was not measured in all chains"


@pytest.mark.parametrize(
    ("other", "verdict", "reason"),
    [
        ({"pca/recall": around(0.7)}, "reproduced", ""),
        ({"pca/recall": around(0.1)}, "undecided", "the space pca, which saw no labels, does not agree"),
        ({}, "undecided", "no space that saw no labels was measured"),
    ],
)
def test_images_need_the_same_sign_in_a_space_without_labels(other, verdict, reason):
    own = finding(statistic(minus="plain"))
    plain = {"recall": around(0.2)} | {key: around(0.4) for key in other}
    judged = judge_finding(own, evidence(treated={"recall": around(0.8)} | other, plain=plain, config=IMAGES), look=10)
    assert (judged.judged[0].verdict, judged.judged[0].reason) == (verdict, reason)


def test_what_is_measured_in_no_space_needs_no_other():
    own = finding(statistic(metric="first_encoder_sd"))
    spread = {"first_encoder_sd": around(0.8)}
    found = evidence(treated=spread, plain=spread, config=IMAGES)
    assert judge_finding(own, found, look=10).judged[0].verdict == "reproduced"


@pytest.mark.parametrize(
    ("floor", "data", "standing"),
    [
        (0.5, "mnist", []),
        (5.0, "mnist", ["exploratory: generation 0 fails the entry gate"]),
        (0.5, "digits", ["analogue, digits: no verdict on images"]),
    ],
)
def test_a_verdict_on_images_says_what_it_is_worth(floor, data, standing):
    gate = {key: [floor] * 10 for key in ("recall_floor", "coverage_floor")} | {"coverage": [1.0] * 10}
    own = {"recall": around(0.8)} | gate
    found = evidence(treated=own, plain=own, config=IMAGES, data=data)
    assert [*judge_finding(finding(statistic()), found, look=10).standing] == standing


REDUCED = {
    "mean": 0.5,
    "last": 0.25,
    "slope": -0.25,
    "relative_slope": -0.5,
    "area": 1.0,
    "rmst": 1.4150375,  # from .75 to .375, on an exponential
    "ratio_to_first": 0.5,
}


@pytest.mark.parametrize(("reduce", "value"), REDUCED.items())
def test_a_curve_becomes_a_number(reduce, value):
    own = finding(statistic(reduce=reduce))
    treated = {0: chain({"recall": [1.0, 0.75, 0.5, 0.25]}, seed=0, config=CONFIG)}
    found = Evidence(chains={"treated": treated, "plain": {}}, configs={})
    assert seed_values(own, own.statistics[0], found)[0] == pytest.approx(value)


def test_kendall_compares_the_orders_of_two_metrics():
    own = finding(statistic(reduce="kendall", other="precision", generations=[0, 3]))
    curves = {"recall": [1.0, 0.75, 0.5, 0.25], "precision": [0.1, 0.2, 0.3, 0.4]}
    found = Evidence(chains={"treated": {0: chain(curves, seed=0, config=CONFIG)}, "plain": {}}, configs={})
    assert seed_values(own, own.statistics[0], found)[0] == -1


def test_argmin_gives_the_setting_of_the_best_arm():
    best = statistic(reduce="argmin", over="bias.spread", arm=None, reproduced=[0.4, 0.6], contradicted=[[0.8, 1]])
    own = finding(best, arms={"narrow": ["bias.spread=0.5"], "wide": ["bias.spread=0.9"]})
    chains = {
        arm: {0: chain({"recall": [value] * 4}, seed=0, config=CONFIG)}
        for arm, value in (("narrow", 1.0), ("wide", 2.0))
    }
    assert seed_values(own, best, Evidence(chains=chains, configs={})) == {0: 0.5}


def test_argmin_of_a_metric_that_an_arm_lacks_is_not_measured():
    best = statistic(reduce="argmin", over="bias.spread", arm=None, reproduced=[0.4, 0.6], contradicted=[[0.8, 1]])
    own = finding(best, arms={"narrow": ["bias.spread=0.5"], "wide": ["bias.spread=0.9"]})
    curves = {"narrow": {"recall": [1.0] * 4}, "wide": {"precision": [1.0] * 4}}
    chains = {arm: {0: chain(curve, seed=0, config=CONFIG)} for arm, curve in curves.items()}
    assert np.isnan(seed_values(own, best, Evidence(chains=chains, configs={}))[0])


def test_generations_are_reversed_if_a_finding_says_the_same_of_all_arms():
    rising = {"reduce": "slope", "reproduced": [0.1, None], "contradicted": [[None, 0]], "generations": [0, 3]}
    own = finding(statistic(**rising), statistic(name="other", arm="plain", **rising))
    curve = {"recall": [0.1, 0.3, 0.5, 0.7]}
    chains = {seed: chain(curve, seed=seed, config=CONFIG) for seed in range(5)}
    judgement = judge_finding(own, Evidence(chains={"treated": chains, "plain": chains}, configs={}), look=5)
    assert judgement.verdict == "reproduced"
    assert [(each.name, each.held, each.text) for each in judgement.controls] == [
        ("generations reversed", True, "contradicted")
    ]
