"""Intervals, neutral drift and survival against closed forms, worked examples and reference implementations."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from planted_runs import write_records
from scipy import stats

from collapsar.report.sections.answer import headline, sentence
from collapsar.report.wording import number_text, waiting_text
from collapsar.study.chains import read_chains
from collapsar.study.intervals import bands, paired_difference, t_interval
from collapsar.study.study import read_study
from collapsar.study.survival import class_survival, waiting_time


def test_t_interval_of_three_values_is_the_worked_example():
    # mean 2, sd 1, t(2, .975) = 4.302653: half-width 4.302653 / sqrt 3
    interval = t_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((2.0, 2 - 2.4841377, 2 + 2.4841377))


def test_a_t_interval_of_99_percent_is_that_of_scipy():
    values = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.99)
    interval = t_interval(values, confidence=0.99)
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_t_interval_covers_the_mean_in_19_of_20_cases():
    draws = np.random.default_rng(0).normal(5.0, 2.0, (600, 4))
    intervals = [t_interval(row.tolist()) for row in draws]
    coverage = np.mean([interval.low <= 5.0 <= interval.high for interval in intervals])
    assert coverage == pytest.approx(0.95, abs=0.025)


def test_one_seed_has_no_interval_and_none_has_no_mean():
    assert t_interval([0.3]).low is None
    assert t_interval([]) is None


def test_an_interval_is_cut_where_the_metric_ends():
    interval = t_interval([0.0, 0.0, 0.05], within=(0.0, 1.0))
    assert interval.low == 0.0


def test_paired_difference_is_the_paired_t_test_over_shared_seeds():
    first, second = {0: 0.50, 1: 0.55, 2: 0.61, 9: 0.0}, {0: 0.40, 1: 0.47, 2: 0.48, 7: 1.0}
    found = paired_difference(first, second)
    assert found.difference.num_seeds == 3
    expected = stats.ttest_rel([0.40, 0.47, 0.48], [0.50, 0.55, 0.61])
    assert found.p_value == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))


def test_differences_that_are_equal_but_for_rounding_have_the_limit_of_the_test():
    found = paired_difference({0: 0.1, 1: 1.1}, {0: 0.3, 1: 1.3})
    assert found.difference.low == found.difference.high == pytest.approx(0.2)
    assert found.p_value == 0.0
    assert paired_difference({0: 0.3, 1: 1.1}, {0: 0.1 + 0.2, 1: 1.1}).p_value == 1.0
    assert paired_difference({0: 0.3}, {0: 0.5}).p_value is None


def test_arms_without_a_shared_seed_have_no_paired_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_bands_are_the_t_interval_of_each_generation():
    rows = [("x", t, float(v)) for t in (0, 1) for v in (1 + t, 2, 4)]
    table = bands(pd.DataFrame(rows, columns=["metric", "generation", "value"]))
    expected = [t_interval([1.0, 2.0, 4.0]), t_interval([2.0, 2.0, 4.0])]
    assert table["low"].tolist() == pytest.approx([interval.low for interval in expected])
    assert table["high"].tolist() == pytest.approx([interval.high for interval in expected])


def test_survival_is_kaplan_meiers_product(make_run, tmp_path):
    make_run("runs/a", rate=0.9)
    make_run("runs/b", rate=0.9, seed=1, num_finished=3)
    chains = read_chains([tmp_path / "runs"])
    deaths = {}
    for number, chain in enumerate(chains):
        for record in chain.records:
            for index, share in enumerate(record.class_shares["synthetic"]):
                if share < 0.01:
                    deaths.setdefault((number, index), record.generation)
    lengths = [chain.records[-1].generation for chain in chains]
    times = {(n, i): deaths.get((n, i), lengths[n]) for n in range(2) for i in range(10)}
    alive, expected = 1.0, {}
    for time in sorted(set(deaths.values())):
        at_risk = sum(end >= time for end in times.values())
        alive *= 1 - sum(died == time for died in deaths.values()) / at_risk
        expected[time] = alive
    curve = class_survival(chains)
    found = dict(zip(curve.generations, curve.alive, strict=True))
    assert len(expected) > 1
    assert {time: found[time] for time in expected} == pytest.approx(expected)


def test_censored_classes_are_kept_at_risk_until_their_chain_ends(make_run):
    curve = class_survival(read_chains([make_run(rate=0.0)]))
    assert (curve.num_classes, curve.num_deaths) == (10, 0)
    assert set(curve.alive) == {1.0}


def test_final_values_rest_on_the_chains_that_came_to_the_end(sweep):
    summaries = {summary.arm.name: summary for summary in read_study([sweep]).summaries}
    assert [chain.seed for chain in summaries["vae, replace"].chains] == [0, 1, 2]
    assert summaries["vae, replace"].last["recall"].num_seeds == 3


def test_contrasts_pair_arms_that_differ_in_one_choice(sweep):
    found = read_study([sweep]).contrasts
    assert {(contrast.first, contrast.second) for contrast in found} == {
        ("gan, accumulate", "gan, replace"),
        ("gan, accumulate", "vae, accumulate"),
        ("gan, replace", "vae, replace"),
        ("vae, accumulate", "vae, replace"),
    }
    assert all(contrast.differences["recall"].difference.num_seeds == 3 for contrast in found)


def test_a_half_life_that_was_not_reached_says_within_how_many_generations(make_run):
    summary = read_study([make_run(regime="accumulate")]).summaries[0]
    assert waiting_text(summary.half_life) == "not in 7"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (8.0, "8"), (0.5234, "0.523"), (12.345, "12.3"), (123.4, "123"), (-0.5, "−0.500"), (None, "–"),
     (1.5e-7, "1.5e−07"), (123456.7, "1.23e+05")],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number_text(value) == text


def test_a_median_time_keeps_chains_that_ended_too_early_to_tell():
    # At risk 4, 3, then 2 after one is censored at 3: alive 3/4, then 3/4 * 1/2 = 3/8 < 1/2 at generation 5.
    found = waiting_time([2.0, None, 5.0, None], lengths=[8, 3, 8, 8])
    assert (found.median, found.low, found.high, found.num_generations) == (5.0, 2.0, math.inf, 8)


def test_a_median_time_of_chains_that_all_saw_it_is_the_plain_median():
    assert waiting_time([2.0, 3.0], lengths=[8, 8]).median == 2.5


def test_a_median_time_that_half_of_the_chains_did_not_reach_is_infinite():
    assert waiting_time([2.0, None], lengths=[8, 8]).median == math.inf
    assert waiting_time([None], lengths=[0]).median == math.inf
    assert waiting_time([], lengths=[]) is None


def test_something_that_happened_at_generation_0_has_the_time_0():
    assert waiting_time([0, 0, None], lengths=[8, 8, 8]).median == 0.0


def test_growth_of_a_lone_chain_has_the_interval_of_theil_and_sen(make_run):
    run = make_run()
    summary = read_study([run]).summaries[0]
    rate = summary.chains[0].profile.fid_growth
    assert (summary.fid_growth.mean, summary.fid_growth.low, summary.fid_growth.high) == (
        rate.slope,
        rate.low,
        rate.high,
    )


def test_kept_recall_is_a_share_seed_by_seed(sweep):
    summary = next(s for s in read_study([sweep]).summaries if s.arm.name == "vae, replace")
    shares = [chain.last["recall"] / chain.first["recall"] for chain in summary.chains]
    assert summary.kept_recall == t_interval(shares, within=(0.0, math.inf))


def test_a_study_is_answered_by_what_was_kept_of_recall(sweep):
    summaries = read_study([sweep]).summaries
    assert headline(summaries).startswith("2 of 4 arms collapsed: ")


def test_where_there_was_next_to_no_recall_nobody_is_said_to_have_lost_it(make_run):
    run = make_run()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        record["metrics"]["recall"] /= 20
    write_records(run, records)
    summary = read_study([run]).summaries[0]
    assert "too little to tell who lost more" in headline([summary])
    assert sentence(summary).startswith("had little to lose: recall went from 0.03")
