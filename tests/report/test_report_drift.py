"""Neutral drift against the binomial, the exact Markov chain and the law's variance; and what the page makes of it."""

import json
import math

import numpy as np
import pytest
import yaml
from planted_runs import write_records
from scipy import stats

from collapsar.report.page import write_report
from collapsar.report.sections.classes import class_map, factor_map, neutral_band
from collapsar.study.chains import read_chains


def band(share, *, num_generations, num_samples, num_evaluated):
    return neutral_band(
        share,
        num_generations=num_generations,
        num_samples=num_samples,
        num_evaluated=num_evaluated,
        coverage=0.9,
        num_chains=50_000,
    )


def test_neutral_band_starts_as_the_binomial_of_the_measurement():
    lower, upper = band(0.3, num_generations=1, num_samples=50, num_evaluated=400)[0]
    assert [lower, upper] == pytest.approx(stats.binom(400, 0.3).ppf([0.05, 0.95]) / 400, abs=0.0026)


def test_neutral_band_is_the_exact_markov_chain():
    counts = np.arange(31)
    step = stats.binom.pmf(counts, 30, counts[:, None] / 30)
    distribution = np.linalg.matrix_power(step, 4)[12]
    measured = stats.binom.pmf(np.arange(201), 200, counts[:, None] / 30)
    cumulative = np.cumsum(distribution @ measured)
    expected = np.searchsorted(cumulative, [0.05, 0.95]) / 200
    assert band(0.4, num_generations=5, num_samples=30, num_evaluated=200)[4] == pytest.approx(expected, abs=0.0101)


def test_neutral_band_of_an_absent_class_is_zero():
    assert band(0.0, num_generations=3, num_samples=30, num_evaluated=30) == ((0, 0),) * 3


def test_neutral_band_of_generation_0_is_the_binomial_of_the_evaluated_sample():
    (band,) = neutral_band(0.1, num_samples=1000, num_evaluated=400, num_generations=1)
    assert band == pytest.approx(stats.binom.ppf([0.025, 0.975], 400, 0.1) / 400, abs=0.006)


def test_neutral_band_has_the_width_of_wright_fisher_drift():
    # Var[p_t] = p (1 - p) (1 - (1 - 1/n)^t), nearly normal while t is far below n.
    low, high = neutral_band(0.5, num_samples=500, num_evaluated=1_000_000, num_generations=21)[20]
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 * (1 - (1 - 1 / 500) ** 20)), rel=0.06)


def test_a_collapsing_class_leaves_the_band():
    band = neutral_band(0.1, num_samples=1437, num_evaluated=360, num_generations=3)
    within = [low <= share <= high for share, (low, high) in zip([0.1, 0.12, 0.6], band, strict=True)]
    assert within == [True, True, False]


def test_neutral_drift_is_that_of_the_runs_own_samples(make_run):
    run = make_run()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        record["class_shares"] = {"real": [0.1, 0.9], "synthetic": [0.3, 0.7]}
        record["pool"] |= {"size": 5_000, "origins": {str(record["generation"] - 1): 40}}
        record["num_evaluated"] = 1_000_000
    write_records(run, records)
    cells = class_map(read_chains([run])[0]).rows[0][2]
    # By the law's variance p (1 - p) (1 - (1 - 1/40)^t) the sd is .047 after one draw and .12 after seven.
    assert [cells[generation].is_drift for generation in (0, 1, 7)] == [False, False, True]


@pytest.mark.parametrize("schedule", [[1437, 900, 500], {"_target_": "collapsar.data.schedules.Linear", "first": 9}])
def test_a_schedule_of_sample_numbers_still_has_a_drift_band(schedule, make_run):
    run = make_run()
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"num_synthetic": schedule}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert class_map(read_chains([run])[0]).num_rows == 10


def with_factors(run, synthetic):
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        del record["class_shares"]
        record["factor_shares"] = {
            "night": {"known": 0.25, "real": 0.24, "synthetic": synthetic(record["generation"])},
            "fog": {"known": 0.1, "real": 0.1, "synthetic": 0.1},
        }
    write_records(run, records)
    return read_chains([run])[0]


def test_a_factor_is_shaded_against_its_known_share_and_stands_beside_what_is_read_of_real_samples(make_run):
    map_ = factor_map(with_factors(make_run(), lambda generation: 0.25 * 0.5**generation))
    (level, known, night), (_, _, fog) = map_.rows
    assert (map_.heads, level, known) == (("level", "known", "read"), "night", ["25.0", "24.0"])
    assert [cell.tone for cell in night[1:]] == ["under"] * 3 + ["dead"] * (len(night) - 4)
    assert night[1].text == "12.5"
    assert night[1].shade == round(100 / 3)  # one doubling of three
    assert all(cell.is_drift and not cell.shade for cell in fog)


def test_a_chain_without_known_factors_has_no_map_of_them(make_run):
    assert factor_map(read_chains([make_run()])[0]) is None


def test_the_page_shows_the_map_of_factors_and_none_of_their_combinations(make_run, tmp_path):
    run = make_run()
    with_factors(run, lambda generation: 0.2)
    page = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<section id="factors"' in page
    assert '<section id="classes"' not in page
    assert '<th scope="row">night</th><td class="real">25.0</td><td class="real">24.0</td>' in page
