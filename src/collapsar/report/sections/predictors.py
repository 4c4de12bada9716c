"""How long a chain's predictors stay useful, in one sentence, the same on the page and in the terminal."""

from collections.abc import Sequence
from dataclasses import replace

from collapsar.foundations.words import counted
from collapsar.report.wording import number_text, waiting_text
from collapsar.study.predictors import Keeping, Keepings
from collapsar.study.survival import WaitingTime

MOST_NAMES = 3


def answer(keepings: Keepings) -> str:
    """The times of the baseline, which parts it hurts first, and which arms keep their predictor longest."""
    baseline = keepings.arms[0]
    seeds = f" ({counted(baseline.num_seeds, 'seed')}: median and range)" if baseline.num_seeds > 1 else ""
    useless = f"the predictor is no better than chance after {generations(baseline.chance)}"
    worse = f", and worse than {keepings.reference} on real data after {_after(baseline.real)}" if baseline.real else ""
    clauses = [f"Under {baseline.arm.name}{seeds}, {useless}{worse}", hurt(baseline), _longest(keepings)]
    return "; ".join(clause for clause in clauses if clause) + "."


def _after(waiting: WaitingTime) -> str:
    """A median time and its range, with >N if it did not happen in N generations: 3 (2 to >7)."""
    return waiting_text(waiting).replace("not in ", ">")


def generations(waiting: WaitingTime) -> str:
    """The same with its unit: 1 generation, >7 generations (5 to >7)."""
    median, bracket, spread = _after(waiting).partition(" (")
    return f"{counted(median, 'generation')}{bracket}{spread}"


def hurt(keeping: Keeping) -> str:
    """The parts that are hurt first, or most if none lost half of its lead; empty if no part has its own score."""
    if not keeping.parts:
        return ""
    kind, first = keeping.parts[0].kind, keeping.hurt_first
    most = max(keeping.parts, key=lambda part: part.first - part.last)
    scores = f"{number_text(most.first)} at first, {number_text(most.last)} at the end"
    loss = f"{most.words} lose most ({kind.score} {scores})"
    if not first:
        return f"no {kind.noun} loses half of its {kind.lead}, {loss}"
    lost = f"half of their {kind.lead} is lost after {generations(first[0].half_life)}"
    if len(first) == len(keeping.parts) > 1:
        return f"no {kind.noun} is hurt before another ({lost}), {loss}"
    return f"{joined([part.words for part in first])} are hurt first: {lost}"


def _longest(keepings: Keepings) -> str:
    """Which arms keep their predictor longest, by the first of the two times in which arms differ."""
    if len(keepings.arms) == 1:
        return ""
    baseline, longest = keepings.arms[0], keepings.longest
    if baseline in longest:
        return "no other arm keeps it longer"
    if longest[0].chance.median != baseline.chance.median:
        bound, times = "no better than chance", [keeping.chance for keeping in longest]
    else:
        bound = f"worse than {keepings.reference} on real data"
        times = [keeping.real for keeping in longest if keeping.real]
    lows, highs, lengths = zip(*((time.low, time.high, time.num_generations) for time in times), strict=True)
    spread = replace(times[0], low=min(lows), high=max(highs), num_generations=max(lengths))
    names = joined([keeping.arm.name for keeping in longest])
    return f"{names} {'keeps' if len(longest) == 1 else 'keep'} it longest ({bound} after {_after(spread)})"


def joined(names: Sequence[str]) -> str:
    """Names in a list: `night`; `night and fog`; `night, fog and vehicle`; at most MOST_NAMES by name."""
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
