"""The chains of a finding: run those that are missing, and find those that are stored."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from collapsar.config.command_line import parse
from collapsar.errors import UsageError
from collapsar.findings.finding import Finding
from collapsar.findings.values import Chains, Evidence, is_dead, summarised
from collapsar.library.composing import run
from collapsar.study.chains import CONFIG, Chain
from collapsar.study.study import read_study

logger = logging.getLogger(__name__)


def collect(finding: Finding, folder: Path, *, look: int) -> Evidence:
    """The chains of the first `look` seeds of each arm, after running those that are not finished.

    Raises:
        UsageError: a chain is refused before it begins.
    """
    evidence, refusal = stored_evidence(finding, folder, look=look), ""
    if missing := _missing(finding, evidence, look=look):
        refusal = _run(finding, missing, folder)
        evidence = stored_evidence(finding, folder, look=look)
    open_chains = [(arm, seed) for arm, seed in _jobs(finding, look) if not _has_ended(evidence.chains[arm].get(seed))]
    if open_chains:
        arm, seed = open_chains[0]
        raise UsageError(refusal or f"{finding.name}: arm {arm}, seed {seed} did not end; the same command continues")
    return evidence


def _missing(finding: Finding, evidence: Evidence, *, look: int) -> dict[str, list[int]]:
    """The seeds of each arm whose chains are not finished."""
    seeds: dict[str, list[int]] = {}
    for arm, seed in _jobs(finding, look):
        if not _has_ended(evidence.chains[arm].get(seed)):
            seeds.setdefault(arm, []).append(seed)
    return seeds


def _run(finding: Finding, seeds: Mapping[str, Sequence[int]], folder: Path) -> str:
    """Run these seeds of the arms; returns why some were refused, empty if none was."""
    refusals = []
    for wanted in dict.fromkeys(map(tuple, seeds.values())):
        arms = [arm for arm, own in seeds.items() if tuple(own) == wanted]
        texts = ",".join(f'"{" ".join(finding.arms[arm])}"' for arm in arms)
        logger.info("%s: %s, seeds %s", finding.name, ", ".join(arms), ", ".join(map(str, wanted)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # chains that broke down are outcomes, which the board shows
                run(
                    [
                        *finding.command,
                        f"seed={','.join(map(str, wanted))}",
                        "hydra/sweeper=arms",
                        f"hydra.sweeper.arms=[{texts}]",
                        f"hydra.sweep.dir={folder.resolve()}",
                    ],
                    is_multirun=True,
                )
        except UsageError as error:
            refusals.append(str(error).splitlines()[0])
    return "; ".join(refusals)


def stored_evidence(finding: Finding, folder: Path, *, look: int) -> Evidence:
    """The stored chains of the first `look` seeds; of several of one seed, the one that was begun last."""
    found: dict[str, dict[int, Chain]] = {arm: {} for arm in finding.arms}
    expected = {
        meaning((*finding.command, *finding.arms[arm], f"seed={seed}")): (arm, seed)
        for arm, seed in _jobs(finding, look)
    }
    keys = [own.metric for own in finding.statistics]
    for chain in sorted(_read(folder), key=lambda chain: (chain.folder / CONFIG).stat().st_mtime):
        place = expected.get(meaning(chain.overrides))
        if place is not None:
            found[place[0]][place[1]] = summarised(chain, keys=keys)
    chains: Chains = {arm: dict(sorted(own.items())) for arm, own in found.items()}
    configs = {arm: next(iter(own.values())).config for arm, own in chains.items() if own}
    return Evidence(chains=chains, configs=configs)


def meaning(overrides: Sequence[str]) -> frozenset[str]:
    """The overrides in one spelling: Hydra's sweepers write False where false was typed."""
    return frozenset(f"{own.key_or_group}={own.value()!r}" for own in map(parse, overrides))


def _read(folder: Path) -> Sequence[Chain]:
    try:
        return read_study(folder).chains
    except UsageError:
        if any(folder.glob(f"*/{CONFIG}")):
            raise
        return []


def _jobs(finding: Finding, look: int) -> list[tuple[str, int]]:
    return [(arm, seed) for seed in range(look) for arm in finding.arms]


def _has_ended(chain: Chain | None) -> bool:
    return chain is not None and (not chain.is_open or is_dead(chain))
