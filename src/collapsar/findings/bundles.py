"""Bundles: the chains of a finding in one folder that somebody else can check and run again in part.

A bundle holds the finding, the verdict, and of each chain its settings, records, versions and status. Its hash runs
over all of these files.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ValidationError

from collapsar.config.composition import settings
from collapsar.findings.board import as_content, stored_evidence
from collapsar.findings.finding import Finding, load_finding, load_findings
from collapsar.findings.judge import Judgement, judge_finding
from collapsar.findings.values import Evidence, all_chains, is_dead, summarised
from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import temporary_of
from collapsar.foundations.settings import arm_settings, config_folder
from collapsar.library.composing import compose_settings, run
from collapsar.study.chains import Chain, read_chains

MANIFEST, FINDING, BOARD, CHAINS = "manifest.json", "finding.yaml", "board.json", "chains"
KEPT = ("config.yaml", "records.jsonl", "versions.json", "status.json", ".hydra/overrides.yaml")
MIN_SEEDS = 10
FIRST_TRIAL_SEED = 100  # searches use seeds from here on, so that none is reported
TOLERANCE = 1e-4  # relative: another machine rounds differently


class Manifest(BaseModel):
    """What a bundle states of itself, as its manifest holds it."""

    finding: str
    protocol: int
    look: int
    hash: str
    files: dict[str, str]


def check_place(folder: Path, findings: Sequence[Finding]) -> None:
    """Refuse a folder that holds a bundle of one of the findings; OSError if nothing can be written there."""
    for bundle in (folder / own.folder_name for own in findings):
        if bundle.exists():
            raise UsageError(f"{bundle} is already there: name another folder, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(dir=folder).cleanup()


def write_bundle(row: Judgement, folder: Path) -> Path:
    """Write the bundle of a finding below a folder, whole or not at all; returns its path."""
    finding, whole = row.finding, folder / row.finding.folder_name
    bundle = temporary_of(whole)
    shutil.rmtree(bundle, ignore_errors=True)
    for chain in all_chains(row.evidence.chains):
        for name in KEPT:
            if (file := chain.folder / name).is_file():
                place = bundle / CHAINS / chain.folder.name / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
    shutil.copyfile(config_folder() / "finding" / f"{finding.name}.yaml", bundle / FINDING)
    (bundle / BOARD).write_text(json.dumps(as_content([row]), indent=1) + "\n", encoding="utf-8")
    protocol, own_hash, files = finding.protocol, finding.hash, file_hashes(bundle)
    manifest = Manifest(finding=finding.name, protocol=protocol, look=row.look, hash=own_hash, files=files)
    (bundle / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return bundle.rename(whole)


def file_hashes(bundle: Path) -> dict[str, str]:
    """The hash of each file of a bundle, by its path, without the manifest."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {own.relative_to(bundle).as_posix(): blake2b(own.read_bytes(), digest_size=16).hexdigest() for own in files}


def check_bundle(bundle: Path) -> list[str]:
    """What is wrong with a bundle, in lines. One of its chains is run again. UsageError if the folder is no bundle."""
    manifest = _manifest(bundle)
    (own,) = load_findings([manifest.finding])
    files = file_hashes(bundle)
    if changed := _differing(files, manifest.files):
        return [f"files differ from the manifest: {changed}"]
    stated, now = (manifest.protocol, manifest.hash), (own.protocol, own.hash)
    if stated != now:
        return [f"protocol {stated[0]}, finding {stated[1]}: this version has {now[0]}, {now[1]}"]
    if not MIN_SEEDS <= manifest.look <= own.looks[-1]:
        return [f"look {manifest.look} must be {MIN_SEEDS} seeds at least, and {own.looks[-1]} at most"]
    try:
        finding = load_finding(bundle / FINDING).model_copy(update={"name": own.name})
        chains = read_chains([bundle / CHAINS])
        evidence = stored_evidence(own, bundle / CHAINS, look=manifest.look)
    except (UsageError, OSError) as error:
        return [str(error)]
    problems = [] if finding == own else [f"{FINDING} is not the finding {own.name} of this version"]
    problems += [*_refusals(chains, evidence, look=manifest.look), *_changed_recipes(own, evidence)]
    return problems or _false_verdict(bundle, own, evidence) or run_again(own, evidence, files)


def _manifest(bundle: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((bundle / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        keys = f"its {MANIFEST} must hold the keys {', '.join(Manifest.model_fields)}"
        raise UsageError(f"{bundle} is no bundle: it must be a folder, and {keys}") from error


def _false_verdict(bundle: Path, finding: Finding, evidence: Evidence) -> list[str]:
    stated, now = None, judge_finding(finding, evidence, look=0).verdict
    with suppress(ValueError, LookupError, TypeError):
        stated = json.loads((bundle / BOARD).read_bytes())["findings"][0]["verdict"]
    return [] if stated == now else [f"{BOARD} says {stated}, and the chains say {now}"]


def _refusals(chains: Sequence[Chain], evidence: Evidence, *, look: int) -> list[str]:
    found = []
    for arm, own in evidence.chains.items():
        if len(own) < MIN_SEEDS:
            found.append(f"arm {arm} has {len(own)} seeds: {MIN_SEEDS} at least")
        if sorted(own) != [*range(look)]:
            got = ", ".join(map(str, sorted(own)))
            found.append(f"arm {arm} must have all seeds from 0 on, failures too: got {got} for look {look}")
        for seed, chain in own.items():
            if others := ({record.seed for record in chain.records} | {chain.config.get("seed")}) - {seed}:
                found.append(f"{chain.label} was started with seed {seed}, and its files say {min(map(str, others))}")
    placed = {chain.folder for chain in all_chains(evidence.chains)}
    for chain in chains:
        if chain.config.get("objective") is not None and chain.seed < FIRST_TRIAL_SEED:
            found.append(f"{chain.label} is a trial on a reported seed: searches use seeds from {FIRST_TRIAL_SEED} on")
        elif chain.folder not in placed:
            found.append(f"{chain.label} is of no arm (another recipe or protocol), or a second chain of its seed")
        elif chain.is_open and not is_dead(chain):
            found.append(f"{chain.label} has not ended: {chain.problem}")
        elif chain.profile.entry_gate == "failed":
            found.append(f"{chain.label} fails the entry gate")
    return found


def _changed_recipes(finding: Finding, evidence: Evidence) -> list[str]:
    found = []
    for arm, own in evidence.chains.items():
        now = arm_settings(settings(compose_settings([*finding.command, *finding.arms[arm]])))
        changed = {chain.label: _differing(arm_settings(chain.config), now) for chain in own.values()}
        found += [f"{label}: the recipe has changed in {keys}" for label, keys in changed.items() if keys]
    return found


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return ", ".join(sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))[:3])


def run_again(finding: Finding, evidence: Evidence, files: Mapping[str, str]) -> list[str]:
    """Run one chain again, chosen by the bundle's hash, and compare its numbers."""
    places = [(arm, seed) for arm, own in evidence.chains.items() for seed in own]
    chosen = int(blake2b(json.dumps(files, sort_keys=True).encode(), digest_size=8).hexdigest(), 16) % len(places)
    arm, seed = places[chosen]
    stored = evidence.chains[arm][seed]
    with TemporaryDirectory() as folder:
        quiet = [f"hydra.run.dir={folder}/chain", "hydra/job_logging=none"]  # it would name files that do not stay
        try:
            run([*finding.command, *finding.arms[arm], f"seed={seed}", *quiet])
        except UsageError:
            if not is_dead(stored):  # else its end is what the bundle says
                raise
        keys = [own.metric for own in finding.statistics]
        again = summarised(read_chains([Path(folder)])[0], keys=keys)
    if len(again.records) != len(stored.records):
        return [f"{stored.label}: {len(stored.records)} generations are stored, {len(again.records)} come out"]
    for one, other in zip(stored.records, again.records, strict=True):
        for key in sorted(one.metrics.keys() | other.metrics.keys()):
            pair = one.metrics.get(key, math.nan), other.metrics.get(key, math.nan)
            if not math.isclose(*pair, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                where = f"{stored.label}, generation {one.generation}"
                return [f"{where}: {key} is {pair[0]:g}, and {pair[1]:g} when run again"]
    return []
