"""The runs: their table, what they cost, their settings, the commands that reproduce them, which are not finished."""

import itertools
import math
import platform
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from collapsar.foundations.words import counted
from collapsar.study.arms import NAMED_PARTS, Arm, part_name
from collapsar.study.chains import Chain
from collapsar.study.study import Study


def comparison(study: Study) -> dict[str, Any]:
    """The chains with their arms, if there are more chains than arms that count or one is unfinished."""
    chains = [(arm, chain) for arm in study.arms for chain in arm.chains if chain.has_outcome]
    is_needed = len(chains) > len(study.counted) or any(chain.problem for chain in study.chains)
    return {"with_outcome": chains if is_needed else []}


def costs(study: Study) -> dict[str, Any] | None:
    """The phases that any arm measured."""
    phases = list(dict.fromkeys(phase for cost in study.costs for phase in cost.phase_seconds))
    return {"phases": phases} if study.costs else None


def unfinished(study: Study) -> dict[str, Any] | None:
    """Unfinished chains, finished ones that are shorter than others of their arm, and repeated ones."""
    found = {
        "unfinished": [chain for chain in study.chains if chain.problem],
        "shorter": [chain for arm in study.arms for chain in arm.left_out if not chain.problem],
        "repeated": [chain for arm in study.arms for chain in arm.chains if chain not in arm.distinct],
    }
    return found if any(found.values()) else None


def settings(study: Study) -> dict[str, Any]:
    """Commands, and the versions that the runs stored, or else those of this process; the study has the settings."""
    stored = next((chain.versions for chain in study.chains if chain.versions), None)
    versions = stored or {"python": platform.python_version()}
    for name in () if stored else ("collapsar", "torch", "lightning", "torchmetrics", "numpy", "scipy", "statsmodels"):
        with suppress(metadata.PackageNotFoundError):  # collapsar itself, when it is run from a checkout
            versions[name] = metadata.version(name)
    return {"versions": versions, "are_stored": bool(stored), "commands": commands(study.arms)}


def provenance(study: Study) -> dict[str, str]:
    """Commits of the runs, the time of their last record, the hashes of their records, the command; what is known."""
    commits = dict.fromkeys(str(chain.versions["commit"]) for chain in study.chains if chain.versions.get("commit"))
    times = [path.stat().st_mtime for chain in study.chains if (path := chain.folder / "records.jsonl").exists()]
    last = f"{datetime.fromtimestamp(max(times), UTC):%Y-%m-%d %H:%M} UTC" if times else ""
    typed = commands(study.arms)
    more = f" (and {counted(len(typed) - 1, 'more command')}, under Settings)" if len(typed) > 1 else ""
    hashes = f"{study.records_hash} as stored, {study.results_hash} without times, memory and machine" if times else ""
    found = {"Commit": ", ".join(commits), "Last generation": last, "Records": hashes, "Command": f"{typed[0]}{more}"}
    return {name: text for name, text in found.items() if text}


def commands(arms: Sequence[Arm]) -> list[str]:
    """One multirun if the chains form a full grid of overrides; otherwise one command for each arm or chain."""
    typed = [[_typed(chain) for chain in arm.chains] for arm in arms]
    together = _multirun([own for group in typed for own in group])
    if together is not None:
        return [together]
    found = []
    for group in typed:
        alone = [shlex.join(["collapsar", *(f"{key}={value}" for key, value in own.items())]) for own in group]
        found += [whole] if (whole := _multirun(group)) else alone
    return list(dict.fromkeys(found))


def _multirun(typed: Sequence[dict[str, str]]) -> str | None:
    """The single multirun that runs these chains and no others; None if there is none."""
    values: dict[str, list[str]] = {}
    for own in typed:
        for key, value in own.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    is_grid = len(typed) > 1 and math.prod(map(len, values.values())) == len(typed)
    grid = (tuple(zip(values, combination, strict=True)) for combination in itertools.product(*values.values()))
    if not is_grid or {tuple(own.items()) for own in typed} != set(grid):
        return None
    return shlex.join(["collapsar", "-m", *(f"{key}={','.join(options)}" for key, options in values.items())])


def _typed(chain: Chain) -> dict[str, str]:
    """The overrides of a chain by key; if they were not stored, the parts and numbers that name it."""
    if chain.overrides:
        return dict(override.partition("=")[::2] for override in chain.overrides)
    parts = {part: part_name([chain], part) for part in NAMED_PARTS}
    return parts | {"seed": str(chain.seed), "num_generations": str(chain.num_generations)}
