"""The alarm: a collapsing chain sets it off, noise does not, a replay fires the same, a stopped chain is resumed."""

import json
import logging
import time
from dataclasses import replace

import numpy as np
import pytest
from hydra.utils import instantiate
from scipy import stats

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.alarm import BeyondFloor, ClassesDropped, LevelsLost, SuddenChange, Trend, measured
from collapsar.journal.courses import kendall_p
from collapsar.training import train as train_module
from tiny_chains import compose_settings

FLOORS = {"recall_floor": 0.95, "fid_floor": 1.4}


def chain(**metrics):
    """Records with these courses of metrics, and digits' floors."""
    return [
        GenerationRecord(
            generation=generation,
            seed=0,
            data="digits",
            model="vae",
            regime="replace",
            pool={},
            num_evaluated=360,
            num_real=360,
            metrics={**dict(zip(metrics, map(float, values), strict=True)), **FLOORS},
            seconds={},
        )
        for generation, values in enumerate(zip(*metrics.values(), strict=True))
    ]


def shipped(choice="default"):
    return instantiate(compose_settings(f"alarm={choice}").alarm, _convert_="object")


def fired_at(rule, **metrics):
    """Generations after which a rule speaks."""
    records = chain(**metrics)
    return [end - 1 for end in range(1, len(records) + 1) if rule.check(records[:end])]


DROP = SuddenChange(metric="recall", direction="falls", share=0.3, floor_share=0.1)
JUMP = SuddenChange(metric="fid", direction="rises", share=1.0, floor_share=1.0)


def test_a_collapsing_chain_sets_off_the_shipped_rules():
    fired = shipped().fired(
        chain(
            recall=[0.89, 0.82, 0.40, 0.12, 0.10, 0.00],
            fid=[9, 16, 40, 90, 130, 170],
            classes_dropped=[0, 0, 1, 4, 4, 6],
        )
    )
    assert {(found.generation, found.rule) for found in fired} >= {
        (2, "recall_drops"),
        (2, "recall_far_below_floor"),
        (2, "fid_jumps"),
        (2, "classes_dropped"),
        (3, "classes_dropped"),
        (5, "recall_trend"),
        (5, "fid_trend"),
    }
    assert (4, "classes_dropped") not in {(found.generation, found.rule) for found in fired}


def test_real_data_against_real_data_never_set_it_off():
    generator = np.random.default_rng(0)
    for _ in range(50):
        recall = 0.95 + 0.02 * generator.standard_normal(20)
        fid = 1.4 * np.exp(0.2 * generator.standard_normal(20))
        records = chain(recall=recall.tolist(), fid=fid.tolist(), classes_dropped=[0] * 20)
        assert shipped().fired(records) == []


def test_a_healthy_chain_that_falls_a_little_does_not_set_it_off():
    assert shipped().fired(chain(recall=[0.89, 0.86, 0.87, 0.85, 0.84, 0.86], fid=[9, 10, 9.5, 10.5, 9.8, 10])) == []


def test_a_sudden_drop_is_more_than_a_share_of_the_value_before():
    assert fired_at(DROP, recall=[0.9, 0.7, 0.4, 0.35]) == [2]


def test_a_drop_that_is_small_beside_the_floor_is_noise():
    assert fired_at(DROP, recall=[0.9, 0.08, 0.02, 0.0]) == [1]


def test_an_improvement_is_no_alarm():
    assert fired_at(DROP, recall=[0.2, 0.9]) == []
    assert fired_at(JUMP, fid=[40, 9]) == []


def test_a_metric_beyond_its_floor_fires_when_it_crosses_the_line():
    rule = BeyondFloor(metric="recall", direction="falls", floor_share=0.5)
    assert fired_at(rule, recall=[0.9, 0.4, 0.3, 0.6, 0.2]) == [1, 4]


def test_a_trend_fires_once_when_it_begins():
    rule = Trend(metric="recall", direction="falls", num_generations=6, significance=0.01, floor_share=0.1)
    assert fired_at(rule, recall=[0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6]) == [5]
    assert fired_at(rule, recall=[0.9, 0.85, 0.9, 0.85, 0.9, 0.85, 0.9]) == []
    assert fired_at(rule, recall=[0.900, 0.899, 0.898, 0.897, 0.896, 0.895]) == []  # steady, and too small to matter


class ScipyTrend(Trend):
    """The same rule, as SciPy's functions give it from the values themselves."""

    def _is_trend(self, records):
        values = measured(records[-self.num_generations :], self.metric)
        if len(values) < self.num_generations or len(set(values)) == 1:
            return False
        alternative = "less" if self.direction == "falls" else "greater"
        p_value = stats.kendalltau(range(len(values)), values, alternative=alternative).pvalue
        change = stats.theilslopes(values, range(len(values))).slope * (self.num_generations - 1)
        size = -change if self.direction == "falls" else change
        return p_value < self.significance and size > self.floor_share * FLOORS[f"{self.metric}_floor"]


def random_chain(generator):
    """Records that drift, jump and level off, with ties, and with values that were not measured."""
    recall = np.clip(0.9 - np.cumsum(generator.normal(0.02, 0.03, 25)), 0, 1).round(int(generator.integers(1, 6)))
    fid = (9 + np.cumsum(generator.normal(1, 2, 25))).round(int(generator.integers(0, 4)))
    records = chain(recall=recall, fid=fid, classes_dropped=np.sort(generator.integers(0, 9, 25)))
    for index in generator.integers(0, 25, 2):
        records[index].metrics.pop("fid", None)
    return records


@pytest.mark.parametrize("num_generations", [4, 5, 6, 9])
@pytest.mark.parametrize(("metric", "direction"), [("recall", "falls"), ("fid", "rises")])
def test_trends_are_those_of_scipy(metric, direction, num_generations):
    generator = np.random.default_rng(num_generations)
    settings = {
        "metric": metric,
        "direction": direction,
        "num_generations": num_generations,
        "significance": 0.06,
        "floor_share": 0.1,
    }
    own, reference = Trend(**settings), ScipyTrend(**settings)
    found = [
        (own.check(records[:end]), reference.check(records[:end]))
        for records in (random_chain(generator) for _ in range(15))
        for end in range(1, len(records) + 1)
    ]
    assert [one for one, _ in found] == [other for _, other in found]
    assert any(one for one, _ in found)


def test_one_generation_after_the_other_fires_what_a_replay_fires():
    generator = np.random.default_rng(0)
    for _ in range(10):
        alarm, records = shipped(), random_chain(generator)
        in_turn = [found for end in range(1, len(records) + 1) for found in alarm.fired_by_last(records[:end])]
        assert in_turn == shipped().fired(records)


def test_the_alarm_of_a_hundred_generations_takes_less_than_a_fifth_of_a_second():
    generator, t = np.random.default_rng(0), np.arange(100)
    records = chain(recall=0.9 * np.exp(-t / 30) + 0.01 * generator.normal(size=100), fid=9 + t, classes_dropped=t // 9)
    alarm = shipped()
    kendall_p.cache_clear()
    start = time.process_time()
    for end in range(1, 101):
        alarm.fired_by_last(records[:end])
    assert time.process_time() - start < 0.2


def test_dropped_classes_fire_when_there_are_more_than_ever():
    assert fired_at(ClassesDropped(num_classes=2), classes_dropped=[0, 1, 2, 2, 1, 3]) == [2, 5]


def test_what_was_not_measured_sets_nothing_off():
    assert shipped().fired(chain(variance=[1.0, 0.5, 0.1])) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("alarm.rules.recall_trend.num_generations=3", "num_generations of a trend must be at least 4: got 3"),
        ("alarm.rules.recall_drops.share=0.0", "share must be above 0: got 0.0"),
        ("alarm.rules.recall_drops.floor_share=-1.0", "floor_share must be at least 0: got -1.0"),
        ("alarm.rules.recall_trend.significance=2.0", "significance must lie between 0 and 1: got 2.0"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(override, message, collapsar):
    code, stderr = collapsar(override)
    assert code == 2
    assert message in stderr


def test_a_rule_can_be_switched_off():
    alarm = instantiate(compose_settings("alarm.rules.fid_jumps=null").alarm, _convert_="object")
    assert "fid_jumps" not in alarm.rules
    assert "recall_drops" in alarm.rules


def test_nothing_fires_at_generation_0_from_which_losses_are_counted():
    fired = shipped().fired(chain(recall=[0.0, 0.0], fid=[90, 90], classes_dropped=[7, 7]))
    assert fired == []


def test_classes_dropped_count_beside_those_that_generation_0_lacks():
    rule = ClassesDropped(num_classes=2)
    assert fired_at(rule, classes_dropped=[7, 8, 9]) == [2]
    assert rule.check(chain(classes_dropped=[7, 8, 9])) == "9 classes dropped, 7 of them at generation 0"
    assert ClassesDropped(num_classes=1).check(chain(classes_dropped=[0, 1])) == "1 class dropped"


# In a chain: its recall is 0 from the start, which sets nothing off, so one rule is made to fire after generation 1

LONG = ("num_generations=3",)


@pytest.fixture
def loses_classes(monkeypatch):
    """A chain that loses classes in generation 1."""
    lose_classes(monkeypatch)


def lose_classes(monkeypatch):
    """Let one rule fire after generation 1, whatever the processor makes of a few training steps."""
    monkeypatch.setattr(
        ClassesDropped, "check", lambda rule, records: "9 classes dropped" if len(records) == 2 else None
    )


def alarms(folder):
    return [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]


def state(folder):
    return json.loads((folder / "status.json").read_text())


def test_an_alarm_reaches_the_log_and_the_run_folder(loses_classes, run_chain, tmp_path, caplog):
    run_chain(tmp_path / "run", *LONG)
    assert (1, "classes_dropped") in [(found["generation"], found["rule"]) for found in alarms(tmp_path / "run")]
    lines = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert [line for line in lines if line.startswith("alarm at generation 1 (classes_dropped): 9 classes dropped")]


def test_a_generation_0_that_fails_the_entry_gate_is_named_in_log_record_and_profile(run_chain, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first, second = run_chain(tmp_path / "run", "num_generations=2")
    assert (first.entry_gate, second.entry_gate) == ("failed", None)
    assert json.loads((tmp_path / "run" / "profile.json").read_text())["entry_gate"] == "failed"
    assert [line for line in caplog.messages if line.startswith("generation 0 fails the entry gate")]


def test_a_chain_killed_after_an_alarm_holds_it_once(loses_classes, run_chain, tmp_path, monkeypatch, caplog):
    original = train_module.train

    def dies(recipe, pool, **arguments):
        if arguments["generation"] == 2:
            raise KeyboardInterrupt
        return original(recipe, pool, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", dies)
        with pytest.raises(KeyboardInterrupt):
            run_chain(tmp_path / "run", *LONG)
    before = alarms(tmp_path / "run")
    run_chain(tmp_path / "run", *LONG)
    assert [found for found in alarms(tmp_path / "run") if found["generation"] == 1] == before
    told = [line for line in caplog.records if line.getMessage().startswith("alarm at generation 1")]
    assert len(told) == len(before) > 0


def test_an_alarm_that_stops_ends_the_chain_cleanly(loses_classes, run_chain, tmp_path):
    assert len(run_chain(tmp_path / "run", *LONG, "alarm=stop")) == 2
    assert state(tmp_path / "run")["state"] == "stopped"
    assert state(tmp_path / "run")["message"].startswith("stopped by the alarm at generation 1 (")
    assert json.loads((tmp_path / "run" / "profile.json").read_text())["ending"] == "stopped"


def test_a_stopped_chain_stays_stopped_until_the_alarm_no_longer_stops(loses_classes, run_chain, tmp_path):
    run_chain(tmp_path / "run", *LONG, "alarm=stop")
    assert len(run_chain(tmp_path / "run", *LONG, "alarm=stop")) == 2
    assert state(tmp_path / "run")["state"] == "stopped"
    assert len(run_chain(tmp_path / "run", *LONG)) == 3
    assert state(tmp_path / "run") == {"state": "finished"}


def test_the_alarm_changes_no_number(run_chain, tmp_path):
    first, again = (
        run_chain(tmp_path / choice, "num_generations=2", f"alarm={choice}") for choice in ("none", "default")
    )
    assert [record.metrics for record in first] == [record.metrics for record in again]


def test_a_stopped_chain_is_a_success_for_the_command_and_is_listed(loses_classes, collapsar, tiny, tmp_path):
    code, _ = collapsar(*tiny, *LONG, "tracking=none", "alarm=stop", "hydra.run.dir=here")
    assert code == 0
    assert "stopped by the alarm at generation 1" in (tmp_path / "here" / "report.html").read_text()


def with_factors(*shares_of_night):
    records = chain(recall=[1.0] * len(shares_of_night))
    fog = {"known": 0.1, "real": 0.1, "synthetic": 0.1}
    rows = [{"fog": fog, "night": {"known": 0.2, "real": 0.2, "synthetic": share}} for share in shares_of_night]
    return [replace(record, factor_shares=row) for record, row in zip(records, rows, strict=True)]


def test_a_factor_that_is_lost_is_named_once():
    fired = shipped().fired(with_factors(0.19, 0.05, 0.019, 0.0))
    assert [(found.generation, found.text) for found in fired] == [
        (2, "night is lost: 1.90% of the samples, 20.00% of the world")
    ]


def test_a_factor_that_comes_back_and_is_lost_again_is_named_again():
    records = with_factors(0.0, 0.2, 0.0)
    assert [end for end in (1, 2, 3) if LevelsLost().check(records[:end])] == [1, 3]
