"""The answer in sentences: which arms collapsed, what happened to each, and whether generation 0 was good enough."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from collapsar.foundations.words import counted, listed
from collapsar.journal.courses import HALF
from collapsar.journal.profile import SHARES, gate_evidence
from collapsar.report.sections import predictors
from collapsar.report.sections.curves import HEIGHT, WIDTH, glances
from collapsar.report.wording import interval_text, number_text, seeds_text, time_text
from collapsar.study.arms import Arm
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary
from collapsar.study.survival import WaitingTime

LITTLE = 0.05  # an arm that began with less recall has too little to lose
DECIDING = "modes_disappear"  # the definition that decides the answer
RULE = (
    "An arm collapsed if all its seeds answer yes to “Tails or modes disappear”: a class, or a level of a factor, that "
    "generation 0 had is lost, or recall falls to half of generation 0's. It did not collapse if all its seeds answer "
    "no, and no other definition is answered yes. Nothing is said of arms that begin with recall below "
    f"{LITTLE:g}, and everything else is undecided."
)
MOST_NAMES = 4
FEW_NAMES = 2  # of more arms, so that the answer is read at a glance

FATES = {
    "collapsed": "collapsed",
    "in part": "kept tails and modes, but collapsed by another definition",
    "kept": "did not collapse",
    "undecided": "is undecided",
    "had little": "had little to lose",
    "never drew": "never drew a sample",
}


def content(study: Study) -> dict[str, Any]:
    """The headline with its rule and curves, a sentence for each arm, and a note on chains that are not finished."""
    kept = [summary.arm for summary in ranked_by_kept(study.counted)]
    answer, *caveats = _answer(study.summaries)
    return {
        "headline": answer,
        "caveats": caveats,
        "rule": RULE,
        "gate": entry_gate(study.summaries),
        "glances": glances(study, leading=[*kept[:1], *kept[-1:]]),
        "width": WIDTH,
        "height": HEIGHT,
        "ranked": ranked_by_loss(study.counted),
        "sentence": sentence,
        "predictors": predictors,
        "not_finished": not_finished(study.arms),
    }


def fate(summary: ArmSummary) -> str:
    """The answer for one arm, a key of FATES, from the same verdicts as the table of definitions, so the two agree."""
    if not any(chain.records for chain in summary.chains):
        return "never drew"
    if "recall" in summary.first and all(chain.first.get("recall", 0.0) < LITTLE for chain in summary.chains):
        return "had little"
    verdict = summary.verdicts[DECIDING].verdict
    if verdict == "no":
        return "in part" if _other_definitions(summary) else "kept"
    return "collapsed" if verdict == "yes" else "undecided"


def headline(summaries: Sequence[ArmSummary]) -> str:
    """The answer in a sentence, by RULE: which arms collapsed and which did not, with their seeds and intervals."""
    return " ".join(_answer(summaries))


def _answer(summaries: Sequence[ArmSummary]) -> list[str]:
    idle = [summary for summary in summaries if not summary.chains]
    summaries = [summary for summary in summaries if summary.chains]
    if not summaries:
        return ["No chain has finished a generation yet, so there is no answer."]
    fates = {fate(summary) for summary in summaries}
    if fates == {"never drew"}:
        return ["No chain drew a sample, as numbers broke down in generation 0: there is no answer."]
    if fates == {"undecided"} and not any("recall" in summary.first for summary in summaries):
        return ["No chain has measured recall, so there is no answer: see what else is measured."]
    if fates == {"had little"}:
        return [_of_little(summaries)]
    if all(chain.last_generation == 0 for summary in summaries for chain in summary.chains):
        return ["There is one generation so far, and losses are counted from it: there is no answer yet."]
    answer = _of_one(summaries[0]) if len(summaries) + len(idle) == 1 else _of_several(summaries, idle=idle)
    return [answer, *_caveats([summary for summary in summaries if fate(summary) not in ("had little", "never drew")])]


def _of_little(summaries: Sequence[ArmSummary]) -> str:
    """The answer if all arms began with next to no recall; their classes may still have died."""
    began = max(summary.first["recall"].mean for summary in summaries)
    text = "Recall is 0 at generation 0 already, so none can be lost: the model is at fault, not collapse."
    if began:
        little = f"Recall is {number_text(began)} at generation 0, too little to tell who lost more"
        text = f"{little}: compare what else is measured."
    died = [summary.arm.name for summary in summaries if summary.verdicts[DECIDING].verdict == "yes"]
    return text + (f" “Tails or modes disappear” is answered yes for {listed(died, most=MOST_NAMES)}." if died else "")


def _of_one(summary: ArmSummary) -> str:
    who = "chain" if len(summary.chains) == 1 else "arm"
    evidence = f"{summary.arm.name} ({_evidence(summary)})"
    if fate(summary) == "undecided":
        return f"Whether the {who} collapsed is undecided: {evidence}."
    return f"The {who} {FATES[fate(summary)]}{_by_others(summary)}: {evidence}."


def _of_several(summaries: Sequence[ArmSummary], *, idle: Sequence[ArmSummary]) -> str:
    ranked = ranked_by_loss(summaries)
    ranked += [summary for summary in summaries if summary not in ranked]
    groups = {key: [summary for summary in ranked if fate(summary) == key] for key in FATES}
    total, lost, kept = len(summaries) + len(idle), groups["collapsed"], groups["kept"]
    if len(kept) == total:
        return f"None of {total} arms collapsed: {_named(kept)}."
    every = ("Both" if total == 2 else f"All {total}") if len(lost) == total else f"{len(lost)} of {total}"
    none = f"None of {total} arms is known to have collapsed"
    parts = [f"{every} arms collapsed: {_named(lost)}" if lost else none]
    parts += [f"{len(arms)} {FATES[key]}: {_named(arms)}" for key in ("in part", "kept") if (arms := groups[key])]
    if undecided := groups["undecided"]:
        parts.append(f"{len(undecided)} {'is' if len(undecided) == 1 else 'are'} undecided: {_named(undecided)}")
    silent = {"had next to no recall to lose": groups["had little"], FATES["never drew"]: groups["never drew"]}
    silent |= {f"{'has' if len(idle) == 1 else 'have'} no finished generation": [*idle]}
    parts += [f"{len(arms)} {said}: {'; '.join(one.arm.name for one in arms)}" for said, arms in silent.items() if arms]
    return f"{'. '.join(parts)}."


def _named(summaries: Sequence[ArmSummary]) -> str:
    names = [f"{summary.arm.name}{_by_others(summary)} ({_evidence(summary)})" for summary in summaries]
    return listed(names, most=MOST_NAMES if len(names) <= MOST_NAMES else FEW_NAMES)


def _evidence(summary: ArmSummary) -> str:
    """How many seeds gave the answer, what is left of recall with its interval, and what happened first."""
    facts = [seeds_text(summary.verdicts[DECIDING].counts)]
    if (kept := summary.kept_recall) is not None:
        bounds = "" if kept.low is None or kept.high is None else f" [{100 * kept.low:.0f}, {100 * kept.high:.0f}]"
        had_any = f" in the {counted(kept.num_seeds, 'seed')} that had any" * (kept.num_seeds < len(summary.chains))
        facts.append(f"{100 * kept.mean:.0f}\u202f%{bounds} of its recall left{had_any}")
    if (halved := _halved(summary)) is not None:
        facts.append(f"halved after {counted(time_text(halved.median), 'generation')}")
    elif summary.first_dead is not None and math.isfinite(summary.first_dead.median):
        has_factors = any(chain.records and chain.records[0].factor_shares for chain in summary.chains)
        lost = "levels of factors were lost" if has_factors else "classes died"
        facts.append(f"{lost} from generation {time_text(summary.first_dead.median)} on")
    for ending, words in (("stopped", "stopped by the alarm"), ("broke down", "broke down")):
        if number := sum(chain.ending == ending for chain in summary.chains):
            facts.append(f"{number} {words}")
    return ", ".join(facts)


def _caveats(summaries: Sequence[ArmSummary]) -> Iterator[str]:
    if single := [summary.arm.name for summary in summaries if len(summary.chains) == 1]:
        whose = "" if len(single) == len(summaries) else f" of {listed(single, most=MOST_NAMES)}"
        yield f"One seed{whose} has no interval: another seed may answer otherwise."
    decided = [(one.arm.name, one.kept_recall) for one in summaries if fate(one) in ("collapsed", "kept")]
    bounded = [(name, kept.low, kept.high) for name, kept in decided if kept]
    if wide := [name for name, low, high in bounded if low is not None and high is not None and low < HALF < high]:
        names = listed(wide, most=MOST_NAMES)
        yield f"The interval of recall of {names} holds both more and less than half: too few seeds to be sure."


def _other_definitions(summary: ArmSummary) -> list[str]:
    return [found.definition for key, found in summary.verdicts.items() if key != DECIDING and found.verdict == "yes"]


def _by_others(summary: ArmSummary) -> str:
    return f" (“{'”, “'.join(_other_definitions(summary))}”)" if fate(summary) == "in part" else ""


def ranked_by_loss(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    """The arms that measured recall, the largest loss first; those that had no recall come last."""
    measured = (summary for summary in summaries if "recall" in summary.first and "recall" in summary.last)
    return sorted(measured, key=_kept)


def ranked_by_kept(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    """The arms that had recall to lose, from the largest loss to the smallest; of equal ones, by recall at the end."""
    measured = [one for one in summaries if one.kept_recall and "recall" in one.last and fate(one) != "had little"]
    return sorted(measured, key=lambda one: (min(_kept(one), 1.0), one.last["recall"].mean))


def _kept(summary: ArmSummary) -> float:
    return summary.kept_recall.mean if summary.kept_recall else math.inf


def sentence(summary: ArmSummary) -> str:
    """What happened to one arm, to follow its name: how far and how fast recall fell, and which classes died."""
    first, last = summary.first["recall"], summary.last["recall"]
    if fate(summary) == "never drew":
        return f"{FATES['never drew']}{_endings(summary)}."
    if summary.arm.horizon == 0:
        return f"has one generation so far, with recall {interval_text(first)}{_endings(summary)}."
    seeds = f" ({seeds_text(summary.verdicts[DECIDING].counts)})" if len(summary.chains) > 1 else ""
    change = f"recall went from {number_text(first.mean)} to {interval_text(last)}"
    halved = f", halved after {predictors.generations(time)}" if (time := _halved(summary)) else ""
    return (
        f"{FATES[fate(summary)]}{_by_others(summary)}{seeds}: {change} in {counted(summary.arm.horizon, 'generation')}"
        f"{halved}{_deaths(summary)}{_endings(summary)}."
    )


def _halved(summary: ArmSummary) -> WaitingTime | None:
    return summary.half_life if summary.half_life and 0 < summary.half_life.median < math.inf else None


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
    are_counted = all(chain.ending != "broke down" for chain in summary.chains)  # a breakdown drops them all
    gone = f" ({number_text(summary.last['classes_dropped'].mean - missing)} gone at the end{mean})" * are_counted
    return f", and classes died from generation {time_text(waiting.median)} on{gone}{lacking}"


def _endings(summary: ArmSummary) -> str:
    """The chains that ended early; means count them."""
    ended = []
    for chain in (chain for chain in summary.chains if chain.ending):
        stopped = f"was stopped by its alarm after generation {chain.last_generation}"
        counts = "" if chain.records else ", which counts as the worst outcome"
        broken = f"broke down in generation {chain.last_generation + 1}{counts}"
        ended.append(f"seed {chain.seed} {stopped if chain.ending == 'stopped' else broken}")
    is_carried = any(-1 < chain.last_generation < summary.arm.horizon for chain in summary.chains)
    carried = f" (last values carried on to generation {summary.arm.horizon})" if is_carried else ""
    return f"; {', '.join(ended)}{carried}" if ended else ""


def entry_gate(summaries: Sequence[ArmSummary]) -> str:
    """Whether generation 0 is good enough: which arms passed the gate, failed it, or did not measure it."""
    shares = " and ".join(f"{share:g}" for share in SHARES.values())
    rule = f"Entry gate ({' and '.join(SHARES)} of generation 0 at least {shares} of their floors)"
    groups: dict[str, list[str]] = {"failed by": [], "passed by": [], "not measured for": []}
    for summary in summaries:
        found = [chain.profile.entry_gate for chain in summary.chains]
        if "failed" in found:
            first = summary.chains[found.index("failed")]
            seeds = f" in {found.count('failed')} of {counted(len(found), 'seed')}" if len(found) > 1 else ""
            evidence = gate_evidence(first.records[0].metrics) if first.records else "broke down"
            groups["failed by"].append(f"{summary.arm.name}{seeds}, {evidence}")
        else:
            groups["not measured for" if None in found or not found else "passed by"].append(summary.arm.name)
    failed, passed, unknown = groups.values()
    if not failed and not unknown:
        return f"{rule}: passed{'' if len(passed) == 1 else f' by all {len(passed)} arms'}."
    texts = (f"{words} {listed(names, most=MOST_NAMES)}" for words, names in groups.items() if names)
    return f"{rule}: {'; '.join(texts)}."


def not_finished(arms: Sequence[Arm]) -> str:
    """How many chains the means leave out, as they are shorter or repeated, and how many count that ended early."""
    left_out = [chain for arm in arms for chain in arm.left_out]
    still = sum(chain.is_open for chain in left_out)
    shorter = len(left_out) - still
    endings = [str(chain.ending) for arm in arms for chain in arm.counted]
    words = {"stopped": "stopped by the alarm", "broke down": "whose numbers broke down"}
    ended = [f"{counted(number, 'run')} {words[ending]}" for ending in words if (number := endings.count(ending))]
    outcomes = "an outcome" if len(endings) - endings.count("") == 1 else "outcomes"
    repeated = sum(len(arm.chains) - len(arm.distinct) for arm in arms)
    until = "until they come as far as the longest chain of their arm"
    clauses = {
        f"leave out {counted(still, 'run')} that may go on, {until}": still,
        f"leave out {counted(shorter, 'finished run')} with fewer generations than others of the same arm": shorter,
        f"leave out {counted(repeated, 'run')} with the settings and the seed of another": repeated,
        f"count {' and '.join(ended)} as {outcomes}, with the last values carried on": len(ended),
    }
    said = [clause for clause, number in clauses.items() if number]
    return f"Means, intervals and verdicts {'; '.join(said)}." if said else ""
