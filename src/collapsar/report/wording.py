"""Numbers and findings in words, the same on the page and in the terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from collapsar.journal.courses import HALF
from collapsar.journal.findings import Verdict
from collapsar.journal.profile import SHARES, gate_evidence
from collapsar.records.words import counted
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.intervals import Interval
from collapsar.study.summaries import ArmSummary
from collapsar.study.waiting import WaitingTime

MISSING = "–"
COURSES = {
    "rises": "still rising",
    "levels off": "level at the end",
    "falls": "falling at the end",
    "undecided": "undecided",
}
LITTLE = 0.05  # an arm that began with less recall has too little to lose
DECIDING = "modes_disappear"  # the definition that decides the answer
RULE = (
    "An arm collapsed if all its seeds answer yes to “Tails or modes disappear”: a class, or a level of a factor, that "
    "generation 0 had is lost, or recall falls to half of generation 0's. It did not collapse if all its seeds answer "
    "no, and no other definition is answered yes. Nothing is said of arms that begin with recall below "
    f"{LITTLE:g}, and everything else is undecided."
)
MOST_NAMES = 4

Fate = Literal["collapsed", "in part", "kept", "undecided", "had little"]
FATES: dict[Fate, str] = {
    "collapsed": "collapsed",
    "in part": "kept tails and modes, but collapsed by another definition",
    "kept": "did not collapse",
    "undecided": "is undecided",
    "had little": "had little to lose",
}


def number_text(value: float | None, *, num_digits: int = 3) -> str:
    """A number with three digits, or three decimals below one; whole numbers below 10,000 in full.

    None and what is not finite give a dash.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 10_000:
        return str(int(value)).replace("-", "−")
    if 0.001 <= abs(value) < 10_000:
        before_point = max(0, math.floor(math.log10(abs(value))))
        decimals = num_digits if abs(value) < 1 else max(0, num_digits - 1 - before_point)
        return f"{value:.{decimals}f}".replace("-", "−")
    return f"{value:.{num_digits}g}".replace("-", "−")


def short_text(value: float | None) -> str:
    """A number with two digits, for the narrow tables of the terminal."""
    return number_text(value, num_digits=2)


def interval_text(interval: Interval | None) -> str:
    """A mean with its 95 % interval, if there is one: 0.52 [0.48, 0.55]."""
    if interval is None:
        return MISSING
    return f"{number_text(interval.mean)} {bounds_text(interval)}".rstrip()


def bounds_text(interval: Interval) -> str:
    """The bounds of an interval, [0.48, 0.55]; empty for one seed."""
    if interval.low is None or interval.high is None:
        return ""
    return f"[{number_text(interval.low)}, {number_text(interval.high)}]"


def waiting_text(waiting: WaitingTime | None) -> str:
    """A median waiting time with the range over seeds: 1.4 (1.2 to 1.7), or "not in 7" if it did not happen."""
    if waiting is None:
        return MISSING
    median = _time(waiting.median, waiting.num_generations)
    if waiting.low == waiting.high:
        return median
    return f"{median} ({_time(waiting.low, waiting.num_generations)} to {_time(waiting.high, waiting.num_generations)})"


def _time(value: float, num_generations: int) -> str:
    return time_text(value) if math.isfinite(value) else f"not in {num_generations}"


def time_text(value: int | float | None) -> str:
    """A time in generations, to a tenth: more digits mean nothing, because generations are counted."""
    return MISSING if value is None else f"{value:.1f}".removesuffix(".0")


def in_generations(text: str) -> str:
    """A median time with its unit, and its range: 1 generation, >7 generations (5 to >7)."""
    median, bracket, spread = text.partition(" (")
    return f"{counted(median, 'generation')}{bracket}{spread}"


def time_of_chain(time: int | float | None, chain: Chain, *, needs: str) -> str:
    """When something happened to a chain, "not in 7" if it did not, and a dash if it was not measured."""
    if time is None and needs in chain.first:
        return f"not in {max(chain.last_generation, 0)}"
    return time_text(time)


def growth_text(growth: Interval | None) -> str:
    """A slope per generation, or another difference, with its sign: +17.3."""
    if growth is None:
        return MISSING
    return f"{'+' if growth.mean > 0 else ''}{number_text(growth.mean)}"


def seeds_text(counts: Mapping[Verdict, int]) -> str:
    """How many seeds gave each answer: 1 seed; 3 of 3 seeds; or 1 yes, 2 undecided of 3 seeds."""
    total = sum(counts.values())
    if total == 1:
        return "1 seed"
    seeds = f"of {counted(total, 'seed')}"
    given = {answer: count for answer, count in counts.items() if count}
    return (
        f"{total} {seeds}" if len(given) == 1 else ", ".join(f"{n} {word}" for word, n in given.items()) + f" {seeds}"
    )


def fate(summary: ArmSummary) -> Fate:
    """The answer for one arm, from the same verdicts as the table of definitions, so the two agree."""
    if _had_little(summary):
        return "had little"
    match summary.verdicts[DECIDING].verdict:
        case "yes":
            return "collapsed"
        case "no":
            return "in part" if _other_definitions(summary) else "kept"
        case _:
            return "undecided"


def headline(summaries: Sequence[ArmSummary]) -> str:
    """The answer in a sentence, by RULE: which arms collapsed and which did not, with their seeds and intervals."""
    summaries = [summary for summary in summaries if summary.chains]
    if not summaries:
        return "No chain has finished a generation yet, so there is no answer."
    measured = [summary for summary in summaries if "recall" in summary.first]
    fates = {summary.arm.name: fate(summary) for summary in summaries}
    if not measured and set(fates.values()) == {"undecided"}:
        return "No chain has measured recall, so there is no answer: see what else is measured."
    if set(fates.values()) == {"had little"}:
        return _of_little(summaries)
    if all(chain.last_generation == 0 for summary in summaries for chain in summary.chains):
        return "There is one generation so far, and losses are counted from it: there is no answer yet."
    answer = _of_one(summaries[0]) if len(summaries) == 1 else _of_several(summaries)
    return " ".join([answer, *_caveats([one for one in summaries if fates[one.arm.name] != "had little"])])


def _of_little(summaries: Sequence[ArmSummary]) -> str:
    """The answer if all arms began with next to no recall; their classes may still have died."""
    began = max(summary.first["recall"].mean for summary in summaries)
    died = [summary.arm.name for summary in summaries if summary.verdicts[DECIDING].verdict == "yes"]
    rest = f" “Tails or modes disappear” is answered yes for {_joined(died)}." if died else ""
    if began == 0:
        return f"Recall is 0 at generation 0 already, so none can be lost: the model is at fault, not collapse.{rest}"
    text = f"Recall is {number_text(began)} at generation 0, too little to tell who lost more"
    return f"{text}: compare what else is measured.{rest}"


def _of_one(summary: ArmSummary) -> str:
    who = "chain" if len(summary.chains) == 1 else "arm"
    evidence = f"{summary.arm.name} ({_evidence(summary)})"
    if fate(summary) == "undecided":
        return f"Whether the {who} collapsed is undecided: {evidence}."
    return f"The {who} {FATES[fate(summary)]}{_by_others(summary)}: {evidence}."


def _of_several(summaries: Sequence[ArmSummary]) -> str:
    ranked = [*ranked_by_loss(summaries), *(summary for summary in summaries if "recall" not in summary.first)]
    groups = {key: [summary for summary in ranked if fate(summary) == key] for key in FATES}
    total, lost = len(summaries), groups["collapsed"]
    if len(lost) == total:
        parts = [f"{'Both' if total == 2 else f'All {total}'} arms collapsed: {_named(lost)}"]
    elif lost:
        parts = [f"{len(lost)} of {total} arms collapsed: {_named(lost)}"]
    elif len(groups["kept"]) == total:
        return f"None of {total} arms collapsed: {_named(groups['kept'])}."
    else:
        parts = [f"None of {total} arms is known to have collapsed"]
    parts += [f"{len(arms)} {FATES[key]}: {_named(arms)}" for key in ("in part", "kept") if (arms := groups[key])]
    if undecided := groups["undecided"]:
        parts.append(f"{len(undecided)} {'is' if len(undecided) == 1 else 'are'} undecided: {_named(undecided)}")
    if little := groups["had little"]:
        parts.append(f"{len(little)} had next to no recall to lose: {'; '.join(one.arm.name for one in little)}")
    return f"{'. '.join(parts)}."


def _named(summaries: Sequence[ArmSummary]) -> str:
    names = [f"{summary.arm.name}{_by_others(summary)} ({_evidence(summary)})" for summary in summaries[:MOST_NAMES]]
    return "; ".join(names) + ("; …" if len(summaries) > MOST_NAMES else "")


def _evidence(summary: ArmSummary) -> str:
    """How many seeds gave the answer, what is left of recall with its interval, and what happened first."""
    return ", ".join(part for part in (seeds_text(summary.verdicts[DECIDING].counts), *_facts(summary)) if part)


def _facts(summary: ArmSummary) -> Iterator[str]:
    if summary.kept_recall is not None:
        yield _kept_text(summary)
    if summary.half_life is not None and 0 < summary.half_life.median < math.inf:
        yield f"halved after {counted(time_text(summary.half_life.median), 'generation')}"
    elif summary.first_dead is not None and math.isfinite(summary.first_dead.median):
        yield f"classes died from generation {time_text(summary.first_dead.median)} on"
    for ending, words in (("stopped", "stopped by the alarm"), ("broke down", "broke down")):
        if number := sum(chain.ending == ending for chain in summary.chains):
            yield f"{number} {words}"


def _caveats(summaries: Sequence[ArmSummary]) -> Iterator[str]:
    """Warnings about arms with too few seeds."""
    single = [summary for summary in summaries if len(summary.chains) == 1]
    if single:
        whose = "" if len(single) == len(summaries) else f" of {'; '.join(one.arm.name for one in single[:MOST_NAMES])}"
        yield f"One seed{whose} has no interval: another seed may answer otherwise."
    wide = [summary.arm.name for summary in summaries if _holds_both_answers(summary)]
    if wide:
        names = _joined(wide)
        yield f"The interval of recall of {names} holds both more and less than half: too few seeds to be sure."


def _holds_both_answers(summary: ArmSummary) -> bool:
    kept = summary.kept_recall
    is_interval = kept is not None and kept.low is not None and kept.high is not None
    return is_interval and fate(summary) in ("collapsed", "kept") and kept.low < HALF < kept.high  # type: ignore[union-attr,operator]


def _other_definitions(summary: ArmSummary) -> list[str]:
    """Definitions other than the deciding one that all seeds answer with yes."""
    return [found.definition for key, found in summary.verdicts.items() if key != DECIDING and found.verdict == "yes"]


def _by_others(summary: ArmSummary) -> str:
    return f" (“{'”, “'.join(_other_definitions(summary))}”)" if fate(summary) == "in part" else ""


def ranked_by_loss(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    """The arms that measured recall, the largest loss first; those that had no recall come last."""
    measured = (summary for summary in summaries if "recall" in summary.first and "recall" in summary.last)
    return sorted(measured, key=lambda summary: summary.kept_recall.mean if summary.kept_recall else math.inf)


def _had_little(summary: ArmSummary) -> bool:
    return "recall" in summary.first and all(chain.first.get("recall", 0.0) < LITTLE for chain in summary.chains)


def _kept_text(summary: ArmSummary) -> str:
    """The share of recall left, with its interval over seeds: 70 % [26, 100] of its recall left."""
    kept = summary.kept_recall
    assert kept is not None, "a seed had recall"
    is_interval = kept.low is not None and kept.high is not None
    bounds = f" [{100 * kept.low:.0f}, {100 * kept.high:.0f}]" if is_interval else ""  # type: ignore[operator]
    had_any = "" if kept.num_seeds == len(summary.chains) else f" in the {counted(kept.num_seeds, 'seed')} that had any"
    return f"{100 * kept.mean:.0f}\u202f%{bounds} of its recall left{had_any}"


def sentence(summary: ArmSummary) -> str:
    """What happened to one arm, to follow its name: how far and how fast recall fell, and which classes died."""
    first, last = summary.first["recall"], summary.last["recall"]
    if summary.arm.horizon == 0:
        return f"has one generation so far, with recall {interval_text(first)}{_endings(summary)}."
    seeds = f" ({seeds_text(summary.verdicts[DECIDING].counts)})" if len(summary.chains) > 1 else ""
    generations = counted(summary.arm.horizon, "generation")
    change = f"recall went from {number_text(first.mean)} to {interval_text(last)} in {generations}"
    what = FATES[fate(summary)] + _by_others(summary)
    return f"{what}{seeds}: {change}{_pace(summary)}{_deaths(summary)}{_endings(summary)}."


def _pace(summary: ArmSummary) -> str:
    waiting = summary.half_life
    if waiting is None or not 0 < waiting.median < math.inf:
        return ""
    return f", halved after {in_generations(waiting_text(waiting))}"


def _deaths(summary: ArmSummary) -> str:
    """When classes died, and how many, apart from those that generation 0 lacks."""
    waiting = summary.first_dead
    if waiting is None or "classes_dropped" not in summary.last:
        return ""
    missing = summary.first["classes_dropped"].mean
    mean = " on average" if len(summary.chains) > 1 else ""
    lacking = f"; generation 0 lacks {counted(number_text(missing), 'class')}{mean}" if missing else ""
    if not math.isfinite(waiting.median):
        return (", and no class died" if not math.isfinite(waiting.low) else "") + lacking
    gone = number_text(summary.last["classes_dropped"].mean - missing)
    died = f"classes died from generation {time_text(waiting.median)} on ({gone} gone at the end{mean})"
    return f", and {died}{lacking}"


def _endings(summary: ArmSummary) -> str:
    """The chains that ended early; means count them."""
    ended = [ending_text(chain) for chain in summary.chains if chain.ending]
    is_carried = any(chain.last_generation < summary.arm.horizon for chain in summary.chains)
    carried = f" (last values carried on to generation {summary.arm.horizon})" if is_carried else ""
    return f"; {', '.join(ended)}{carried}" if ended else ""


def ending_text(chain: Chain) -> str:
    """How a chain ended early: seed 1 was stopped by its alarm after generation 2."""
    if chain.ending == "stopped":
        return f"seed {chain.seed} was stopped by its alarm after generation {chain.last_generation}"
    counts = "" if chain.records else ", which counts as the worst outcome"
    return f"seed {chain.seed} broke down in generation {chain.last_generation + 1}{counts}"


def entry_gate(summaries: Sequence[ArmSummary]) -> str:
    """Whether generation 0 is good enough: which arms passed the gate, failed it, or did not measure it."""
    shares = " and ".join(f"{share:g}" for share in SHARES.values())
    rule = f"Entry gate ({' and '.join(SHARES)} of generation 0 at least {shares} of their floors)"
    chains = {one.arm.name: [chain.profile.entry_gate for chain in one.chains] for one in summaries}
    failed = [
        f"{one.arm.name}{_of_seeds(chains[one.arm.name].count('failed'), len(one.chains))}, {_first_failure(one)}"
        for one in summaries
        if "failed" in chains[one.arm.name]
    ]
    passed = [name for name, found in chains.items() if set(found) == {"passed"}]
    unknown = [name for name, found in chains.items() if None in found and "failed" not in found]
    if not failed and not unknown:
        return f"{rule}: passed{'' if len(passed) == 1 else f' by all {len(passed)} arms'}."
    parts = [f"failed by {_joined(failed)}"] if failed else []
    parts += [f"passed by {_joined(passed)}"] if passed else []
    parts += [f"not measured for {_joined(unknown)}"] if unknown else []
    return f"{rule}: {'. '.join(parts).replace('. ', '; ')}."


def _of_seeds(number: int, total: int) -> str:
    return "" if total == 1 else f" in {number} of {counted(total, 'seed')}"


def _first_failure(summary: ArmSummary) -> str:
    """What the first seed that failed the gate measured."""
    chain = next(chain for chain in summary.chains if chain.profile.entry_gate == "failed")
    return gate_evidence(chain.records[0].metrics) if chain.records else "broke down"


def _joined(names: Sequence[str]) -> str:
    return "; ".join(names[:MOST_NAMES]) + (f"; and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def not_finished(arms: Sequence[Arm]) -> str:
    """How many chains the means leave out because they are shorter, and how many count that ended early."""
    left_out = [chain for arm in arms for chain in arm.left_out]
    endings = [chain.ending for arm in arms for chain in arm.counted]
    still, stopped, broken = (
        sum(chain.is_open for chain in left_out),
        endings.count("stopped"),
        endings.count("broke down"),
    )
    clauses = []
    if still:
        until = "until they come as far as the longest chain of their arm"
        clauses.append(f"leave out {counted(still, 'run')} that may go on, {until}")
    if len(left_out) > still:
        shorter = counted(len(left_out) - still, "finished run")
        clauses.append(f"leave out {shorter} with fewer generations than others of the same arm")
    if stopped or broken:
        words = [f"{counted(stopped, 'run')} stopped by the alarm"] if stopped else []
        words += [f"{counted(broken, 'run')} whose numbers broke down"] if broken else []
        clauses.append(f"count {' and '.join(words)} as outcomes, with the last values carried on")
    return f"Means, intervals and verdicts {'; '.join(clauses)}." if clauses else ""
