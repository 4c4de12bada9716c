"""Where numbers come from: commit, date and hashes of the records of chains, and commands that make them again.

A hash is BLAKE2b in sixteen hexadecimal digits, over the sorted hashes of its parts, so the order of chains is free.
"""

import itertools
import json
import math
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b

from collapsar.foundations.words import counted
from collapsar.study.arms import NAMED_PARTS, Arm, part_name
from collapsar.study.chains import Chain

VARYING = ("seconds", "shared_seconds", "peak_memory_bytes", "peak_device_memory_bytes", "machine")  # of equal runs


def records_hash(chains: Sequence[Chain]) -> str:
    """The hash of the files of records, byte by byte: with their times, so every run has another."""
    files = (chain.folder / "records.jsonl" for chain in chains if chain.records)
    return _hash(path.read_bytes() for path in files if path.exists())


def results_hash(chains: Sequence[Chain]) -> str:
    """The hash of folder names and records without times, memory and machine: equal runs have the same."""
    return _hash(f"{chain.folder.resolve().name}\n{_results(chain)}".encode() for chain in chains if chain.records)


def _results(chain: Chain) -> str:
    contents = (
        {key: value for key, value in vars(record).items() if key not in VARYING and value not in ({}, None)}
        for record in chain.records
    )
    return "\n".join(json.dumps(content, sort_keys=True, allow_nan=False) for content in contents)


def _hash(contents: Iterable[bytes]) -> str:
    own = sorted(blake2b(content).hexdigest() for content in contents)
    return blake2b("".join(own).encode(), digest_size=8).hexdigest()


def provenance(chains: Sequence[Chain], *, typed: Sequence[str], hashes: tuple[str, str]) -> dict[str, str]:
    """Commits of the runs, the time of their last record, both hashes of records, the command; what is known."""
    commits = dict.fromkeys(str(chain.versions["commit"]) for chain in chains if chain.versions.get("commit"))
    times = [path.stat().st_mtime for chain in chains if (path := chain.folder / "records.jsonl").exists()]
    last = f"{datetime.fromtimestamp(max(times), UTC):%Y-%m-%d %H:%M} UTC" if times else ""
    more = f" (and {counted(len(typed) - 1, 'more command')}, under Settings)" if len(typed) > 1 else ""
    records = "{} as stored, {} without times, memory and machine".format(*hashes) if times else ""
    found = {"Commit": ", ".join(commits), "Last generation": last, "Records": records, "Command": f"{typed[0]}{more}"}
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
