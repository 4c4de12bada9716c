"""The profile answers constructed chains whose answers are known."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.courses import growth_rate, half_life
from collapsar.journal.definitions import error_rises
from collapsar.journal.profile import Profile, profile_chain


def chain(
    num_generations: int = 12,
    *,
    fitted: Callable[[int], dict[str, object]] = lambda t: {},
    shares: Callable[[int], Sequence[float]] | None = None,
    **metrics: Callable[[int], float],
) -> list[GenerationRecord]:
    """Records whose metrics are functions of the generation."""
    return [
        GenerationRecord(
            generation=t,
            seed=0,
            data="digits",
            model="vae",
            regime="replace",
            pool={"size": 100},
            num_evaluated=100,
            num_real=100,
            metrics={key: value(t) for key, value in metrics.items()},
            seconds={},
            fitted=fitted(t),
            class_shares={"real": [0.5, 0.5], "synthetic": list(shares(t))} if shares else {},
        )
        for t in range(num_generations)
    ]


def verdict(profile: Profile, definition: str) -> tuple[str, int | None]:
    finding = profile.findings[definition]
    return finding.verdict, finding.generation


@pytest.mark.parametrize("expected", [0.4, 1.0, 2.5, 7.3])
def test_half_life_of_an_exponential_is_its_own(expected):
    profile = profile_chain(chain(recall=lambda t: 0.8 * 0.5 ** (t / expected)))
    assert profile.recall_half_life == pytest.approx(expected)


def test_half_life_of_a_line_to_zero_is_on_the_line():
    assert half_life([(0, 1.0), (1, 0.0)]) == pytest.approx(0.5)


def test_half_life_is_none_where_half_was_never_reached():
    assert profile_chain(chain(recall=lambda t: 0.8 - 0.03 * t)).recall_half_life is None


def test_half_life_takes_the_first_crossing():
    values = [1.0, 0.9, 0.45, 0.7, 0.2]
    assert 1 < half_life(list(enumerate(values))) < 2


def test_variance_half_life_is_that_of_the_law():
    # E[v_t] = (1 - 1/n)^t s² with n = 10 halves after ln 2 / -ln(0.9) = 6.58 generations.
    profile = profile_chain(chain(trace_ratio=lambda t: 0.9**t))
    assert profile.variance_half_life == pytest.approx(6.5788, abs=1e-4)


def test_variance_of_an_analytic_model_is_the_sum_of_what_was_fitted():
    diagonal = profile_chain(chain(fitted=lambda t: {"variance": [0.5**t, 0.5**t]}))
    full = profile_chain(chain(fitted=lambda t: {"covariance": [[0.5**t, 9.0], [9.0, 0.5**t]]}))
    assert diagonal.variance_half_life == full.variance_half_life == pytest.approx(1.0)


def test_growth_of_a_line_is_its_slope_with_an_interval_of_no_width():
    rate = growth_rate([(t, 3.0 + 2.0 * t) for t in range(10)])
    assert (rate.slope, rate.low, rate.high, rate.num_points) == pytest.approx((2.0, 2.0, 2.0, 10))


def test_growth_needs_four_generations():
    assert growth_rate([(t, float(t)) for t in range(3)]) is None


def test_one_outlier_does_not_move_the_growth_rate():
    points = [(t, 2.0 * t) for t in range(12)]
    points[5] = (5, 1000.0)
    assert growth_rate(points).slope == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("value", "course"),
    [
        (lambda t: 5.0 + 2 * t, "rises"),
        (lambda t: 40.0 - 2 * t, "falls"),
        (lambda t: 20.0 - 15 * 0.3**t, "levels off"),
        (lambda t: 20.0, "levels off"),
        (lambda t: 20.0 + 8 * (-1) ** t, "undecided"),
    ],
)
def test_late_course_of_a_known_curve(value, course):
    assert profile_chain(chain(fid=value)).fid_course == course


def test_a_diverging_error_rises_is_catastrophic_and_diverges():
    profile = profile_chain(chain(fid=lambda t: 4.0 + 3 * t))
    assert verdict(profile, "error_rises") == ("yes", 1)
    assert verdict(profile, "error_rises_catastrophically") == ("yes", 6)
    assert verdict(profile, "error_diverges")[0] == "yes"
    assert profile.fid_course == "rises"


def test_an_error_that_saturates_rises_but_does_not_diverge():
    profile = profile_chain(chain(fid=lambda t: 10.0 - 4 * 0.4**t))
    assert verdict(profile, "error_rises")[0] == "yes"
    assert verdict(profile, "error_rises_catastrophically")[0] == "no"
    assert verdict(profile, "error_diverges")[0] == "no"


def test_a_steady_error_does_not_rise():
    profile = profile_chain(chain(fid=lambda t: 10.0 + 0.2 * (-1) ** t))
    assert verdict(profile, "error_rises") == ("no", None)


def test_variance_vanishes_where_a_twentieth_is_left():
    profile = profile_chain(chain(trace_ratio=lambda t: 0.5**t))
    assert verdict(profile, "variance_vanishes") == ("yes", 5)


def test_variance_that_was_not_measured_is_undecided():
    finding = profile_chain(chain(fid=lambda t: 1.0)).findings["variance_vanishes"]
    assert (finding.verdict, finding.evidence) == ("undecided", "variance was not measured")


def test_variance_is_read_in_pixels_before_the_classifier_and_evidence_names_it():
    records = chain(
        **{"trace_ratio": lambda t: 1.0, "pca/trace_ratio": lambda t: 0.5**t, "pca/generalised_variance": lambda t: 0.0}
    )
    profile = profile_chain(records)
    assert profile.variance_half_life == pytest.approx(1.0)
    assert "pca/trace_ratio 1 to 0.000488" in profile.findings["variance_vanishes"].evidence


def test_an_analytic_models_own_variance_comes_before_that_of_its_samples():
    records = chain(fitted=lambda t: {"variance": [0.5**t]}, trace_ratio=lambda t: 1.0)
    assert profile_chain(records).variance_half_life == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_count_as_not_measured(bad):
    def planted(value):
        return lambda t: bad if t == 5 else value(t)

    spoilt = profile_chain(chain(fid=planted(lambda t: 4.0 + 3 * t), recall=planted(lambda t: 0.8 * 0.5 ** (t / 2))))
    assert spoilt.fid_growth.slope == pytest.approx(3.0)
    assert spoilt.fid_growth.num_points == 11
    assert spoilt.recall_half_life == pytest.approx(2.0)
    json.dumps(spoilt.to_dict(), allow_nan=False)


def test_a_count_of_classes_that_is_not_finite_is_counted_from_the_shares():
    records = chain(shares=lambda t: [1.0, 0.0] if t > 2 else [0.5, 0.5], classes_dropped=lambda t: math.nan)
    assert profile_chain(records).first_dead_generation == 3


def test_recall_that_starts_at_0_has_the_half_life_0_and_nothing_to_lose():
    profile = profile_chain(chain(recall=lambda t: 0.0, shares=lambda t: [0.5, 0.5]))
    assert profile.recall_half_life == 0.0
    finding = profile.findings["real_not_reproduced"]
    assert (finding.verdict, finding.evidence) == ("undecided", "recall was 0 from the start: nothing to lose")
    assert verdict(profile, "modes_disappear")[0] == "undecided"


def test_an_error_that_starts_at_0_has_no_ratio():
    finding = profile_chain(chain(fid=float)).findings["error_rises_catastrophically"]
    assert (finding.verdict, finding.evidence) == ("undecided", "FID is 0 at generation 0: no ratio to it")


def test_metrics_missing_in_between_leave_the_half_life_on_the_exponential():
    records = chain(recall=lambda t: 0.8 * 0.5 ** (t / 3))
    sparse = [record for record in records if record.generation % 4 == 0]
    assert profile_chain(sparse).recall_half_life == pytest.approx(3.0)


def test_growth_interval_covers_the_slope_in_19_of_20_cases():
    noise = np.random.default_rng(0).normal(0, 1, (300, 12))
    rates = [growth_rate([(t, 5 + 0.7 * t + error) for t, error in enumerate(row)]) for row in noise]
    assert np.mean([rate.low <= 0.7 <= rate.high for rate in rates]) == pytest.approx(0.95, abs=0.03)


def test_noise_around_a_level_is_not_called_a_rise_more_often_than_the_test_allows():
    noise = np.random.default_rng(1).normal(0, 1, (300, 12))
    answers = [error_rises([(t, 50 + error) for t, error in enumerate(row)]).verdict for row in noise]
    assert answers.count("yes") / len(answers) < 0.08


def test_first_dead_class_is_where_its_share_falls_below_a_tenth_of_the_real_one():
    profile = profile_chain(chain(shares=lambda t: [1 - 0.5 ** (t + 1), 0.5 ** (t + 1)]))
    assert profile.first_dead_generation == 4  # 0.5^5 = 0.031 < 0.05 <= 0.5^4
    assert profile.dead_classes == [1]
    assert verdict(profile, "modes_disappear") == ("yes", 4)


def test_tails_disappear_where_recall_halves_though_no_class_dies():
    profile = profile_chain(chain(shares=lambda t: [0.5, 0.5], recall=lambda t: 0.8 * 0.75**t))
    assert profile.first_dead_generation is None
    assert verdict(profile, "modes_disappear") == ("yes", 3)


def test_nothing_disappears_where_recall_and_classes_stay():
    profile = profile_chain(chain(shares=lambda t: [0.5, 0.5], recall=lambda t: 0.8, precision=lambda t: 0.9))
    answers = [verdict(profile, key)[0] for key in ("modes_disappear", "modes_merge", "real_not_reproduced")]
    assert answers == ["no", "no", "no"]


def test_falling_precision_means_samples_between_the_modes():
    assert verdict(profile_chain(chain(precision=lambda t: 0.9 - 0.1 * t, num_generations=9)), "modes_merge") == (
        "yes",
        5,
    )


def test_lost_recall_means_real_data_are_not_reproduced():
    assert verdict(profile_chain(chain(recall=lambda t: 0.5**t)), "real_not_reproduced") == ("yes", 4)


def test_every_definition_can_be_answered_yes_and_no():
    falling, rising, steady = (lambda t: 0.8 * 0.3**t), (lambda t: 4.0 + 3 * t), (lambda t: 0.8)
    lost = chain(recall=falling, precision=falling, trace_ratio=falling, fid=rising)
    kept = chain(recall=steady, precision=steady, trace_ratio=steady, fid=lambda t: 4.0)
    for records, answer in ((lost, "yes"), (kept, "no")):
        assert {finding.verdict for finding in profile_chain(records).findings.values()} == {answer}


@pytest.mark.parametrize("num_generations", [0, 1, 2, 3])
def test_short_chains_are_undecided(num_generations):
    profile = profile_chain(
        chain(num_generations, fid=lambda t: 1.0 + t / 9, recall=lambda t: 0.7, precision=lambda t: 0.7 + t / 9)
    )
    assert verdict(profile, "error_rises")[0] == "undecided"
    assert verdict(profile, "error_diverges")[0] == "undecided"
    assert profile.fid_growth is None


def test_order_of_the_records_does_not_matter():
    records = chain(recall=lambda t: 0.8 * 0.7**t, fid=lambda t: 1.0 + t)
    assert profile_chain(records[::-1]) == profile_chain(records)


def test_profile_is_plain_json():
    profile = profile_chain(chain(recall=lambda t: 0.8 * 0.7**t, fid=lambda t: 1.0 + t))
    content = json.loads(json.dumps(profile.to_dict(), allow_nan=False))
    assert content["recall_half_life"] == profile.recall_half_life
    assert len(content["findings"]) == 7
    assert set(content["findings"]["error_rises"]) == {"definition", "verdict", "evidence", "generation", "num_seeds"}


def test_a_lost_factor_is_a_mode_that_disappears_and_is_named():
    shares = [{"night": {"known": 0.2, "real": 0.2, "synthetic": share}} for share in (0.2, 0.1, 0.01)]
    records = [replace(record, factor_shares=row) for record, row in zip(chain(3), shares, strict=True)]
    profile = profile_chain(records)
    assert verdict(profile, "modes_disappear") == ("yes", 2)
    assert profile.findings["modes_disappear"].evidence == "night lost at generation 2"
    assert profile.first_dead_generation == 2


def test_factors_that_are_all_there_are_no_mode_that_disappears():
    row = {"night": {"known": 0.2, "real": 0.2, "synthetic": 0.1}}
    records = [replace(record, factor_shares=row) for record in chain(3, recall=lambda t: 0.9)]
    finding = profile_chain(records).findings["modes_disappear"]
    assert (finding.verdict, finding.evidence.split(";")[0]) == ("no", "no factor lost")


def test_classes_that_generation_0_lacks_are_no_loss():
    profile = profile_chain(chain(shares=lambda t: [1.0, 0.0], recall=lambda t: 0.8, classes_dropped=lambda t: 1.0))
    assert (profile.first_dead_generation, profile.dead_classes, profile.missing_classes) == (None, [], [1])
    finding = profile.findings["modes_disappear"]
    assert finding.verdict == "no"
    assert "generation 0 lacks 1 class: the model's fault" in finding.evidence


def test_a_class_that_dies_beside_one_that_generation_0_lacks_is_the_only_loss():
    profile = profile_chain(chain(classes_dropped=lambda t: 3.0 if t < 5 else 4.0))
    assert profile.first_dead_generation == 5
    assert profile.findings["modes_disappear"].evidence == (
        "1 class dropped at generation 5 (generation 0 lacks 3 classes: the model's fault)"
    )


def test_a_level_that_generation_0_lacks_is_no_loss():
    row = {"night": {"known": 0.2, "real": 0.2, "synthetic": 0.0}}
    records = [replace(record, factor_shares=row) for record in chain(3, recall=lambda t: 0.9)]
    assert profile_chain(records).first_dead_generation is None
    assert verdict(profile_chain(records), "modes_disappear") == ("no", None)


def test_a_chain_that_the_alarm_stopped_is_never_answered_no():
    records = chain(5, recall=lambda t: 0.8, precision=lambda t: 0.9, fid=lambda t: 4.0, shares=lambda t: [0.5, 0.5])
    finished, stopped = profile_chain(records), profile_chain(records, ending="stopped")
    assert {finding.verdict for finding in finished.findings.values()} == {"no", "undecided"}
    assert {finding.verdict for finding in stopped.findings.values()} == {"undecided"}
    assert stopped.findings["modes_disappear"].evidence.endswith("then the alarm stopped the chain")
    collapsed = profile_chain(chain(3, recall=lambda t: 0.8 * 0.1**t), ending="stopped")
    assert verdict(collapsed, "real_not_reproduced") == ("yes", 1)


def test_a_breakdown_loses_what_was_left_in_the_generation_that_broke_down():
    profile = profile_chain(chain(3, recall=lambda t: 0.8, shares=lambda t: [0.5, 0.5]), ending="broke down")
    assert (profile.recall_half_life, profile.first_dead_generation, profile.ending) == (3.0, 3, "broke down")
    assert verdict(profile, "modes_disappear") == verdict(profile, "real_not_reproduced") == ("yes", 3)
    assert verdict(profile, "modes_merge") == ("undecided", None)
    assert profile_chain(chain(3, recall=lambda t: 0.8 * 0.5**t), ending="broke down").recall_half_life == 1.0


def test_a_breakdown_before_the_first_record_is_the_worst_outcome_and_no_loss():
    profile = profile_chain([], ending="broke down")
    assert (profile.recall_half_life, profile.entry_gate) == (0.0, "failed")
    assert {finding.verdict for finding in profile.findings.values()} == {"undecided"}


GATE = {"recall": 0.76, "recall_floor": 0.95, "coverage": 0.63, "coverage_floor": 0.9}


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({}, "passed"),
        ({"recall": 0.75}, "failed"),
        ({"coverage": 0.62}, "failed"),
        ({"coverage": None}, None),
        ({"coverage_floor": None}, None),
        ({"coverage": None, "recall": 0.0}, "failed"),
        ({"recall_floor": 0.0}, None),
    ],
    ids=str,
)
def test_the_entry_gate_is_eight_tenths_of_the_floor_of_recall_and_seven_of_coverage(change, answer):
    metrics = {key: value for key, value in (GATE | change).items() if value is not None}
    records = chain(2, **{key: lambda t, value=value: value for key, value in metrics.items()})
    assert profile_chain(records).entry_gate == answer
    assert profile_chain(records).to_dict()["entry_gate"] == answer


def test_what_was_never_measured_is_said_not_to_be_and_what_came_late_not_at_generation_0():
    found = profile_chain(chain(recall=lambda t: 0.5)).findings
    assert found["error_rises"].evidence == "FID was not measured"
    assert found["error_diverges"].evidence == "FID was not measured"
    late = [replace(record, metrics=record.metrics if record.generation > 2 else {}) for record in chain(fid=float)]
    assert profile_chain(late).findings["error_diverges"].evidence == "FID was not measured at generation 0"


def test_a_window_with_gaps_counts_measured_generations():
    records = chain(7, fid=lambda t: 10.0 + t)
    gaps = [replace(record, metrics=record.metrics if record.generation % 2 == 0 else {}) for record in records]
    assert "over the last 4 measured generations" in profile_chain(gaps).findings["error_diverges"].evidence
    assert "over the last 4 generations" in profile_chain(records).findings["error_diverges"].evidence
