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

from collapsar.config.composition import settings
from collapsar.findings.board import as_content, stored_evidence
from collapsar.findings.finding import Finding, load_finding
from collapsar.findings.judge import Judgement
from collapsar.findings.values import Evidence, all_chains, is_dead, summarised
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import arm_settings, config_folder
from collapsar.library.composing import compose_settings, run
from collapsar.study.chains import Chain, read_chains

MANIFEST, FINDING, BOARD, CHAINS = "manifest.json", "finding.yaml", "board.json", "chains"
KEPT = ("config.yaml", "records.jsonl", "versions.json", "status.json", ".hydra/overrides.yaml")
MIN_SEEDS = 10
FIRST_TRIAL_SEED = 100  # searches use seeds from here on, so that none is reported
TOLERANCE = 1e-4  # relative: another machine rounds differently


def write_bundle(row: Judgement, folder: Path) -> Path:
    """Write the bundle of a finding below a folder; returns its path. UsageError if it is already there."""
    finding, bundle = row.finding, folder / row.finding.folder_name
    if bundle.exists():
        raise UsageError(f"{bundle} is already there: name another folder, or delete it")
    for chain in all_chains(row.evidence.chains):
        for name in KEPT:
            if (file := chain.folder / name).is_file():
                place = bundle / CHAINS / chain.folder.name / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
    shutil.copyfile(config_folder() / "finding" / f"{finding.name}.yaml", bundle / FINDING)
    (bundle / BOARD).write_text(json.dumps(as_content([row]), indent=1) + "\n", encoding="utf-8")
    manifest = {"finding": finding.name, "protocol": finding.protocol, "look": row.look}
    manifest |= {"hash": finding.hash, "files": file_hashes(bundle)}
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return bundle


def file_hashes(bundle: Path) -> dict[str, str]:
    """The hash of each file of a bundle, by its path, without the manifest."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {own.relative_to(bundle).as_posix(): blake2b(own.read_bytes(), digest_size=16).hexdigest() for own in files}


def check_bundle(bundle: Path) -> list[str]:
    """What is wrong with a bundle, in lines. One of its chains is run again. UsageError if the folder is no bundle."""
    manifest = _manifest(bundle)
    own = load_finding(config_folder() / "finding" / f"{manifest['finding']}.yaml")
    files = file_hashes(bundle)
    if changed := _differing(files, manifest["files"]):
        return [f"files differ from the manifest: {changed}"]
    stated, now = (manifest["protocol"], manifest["hash"]), (own.protocol, own.hash)
    if stated != now:
        return [f"protocol {stated[0]}, finding {stated[1]}: this version has {now[0]}, {now[1]}"]
    chains = read_chains([bundle / CHAINS])
    evidence = stored_evidence(own, bundle / CHAINS, look=int(manifest["look"]))
    problems = [*_refusals(chains, evidence), *_changed_recipes(own, evidence)]
    return problems or run_again(own, evidence, files)


def _manifest(bundle: Path) -> Mapping[str, Any]:
    keys = ("finding", "protocol", "look", "hash", "files")
    with suppress(OSError, ValueError):
        content = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.keys() >= set(keys):
            return content
    raise UsageError(f"{bundle} is no bundle: its {MANIFEST} must hold the keys {', '.join(keys)}")


def _refusals(chains: Sequence[Chain], evidence: Evidence) -> list[str]:
    found = []
    for arm, own in evidence.chains.items():
        if len(own) < MIN_SEEDS:
            found.append(f"arm {arm} has {len(own)} seeds: {MIN_SEEDS} at least")
        if sorted(own) != [*range(len(own))]:
            got = ", ".join(map(str, sorted(own)))
            found.append(f"arm {arm} must have all seeds from 0 on, failures too: got {got}")
        elif len(own) < max(map(len, evidence.chains.values())):
            found.append(f"arm {arm} lacks seeds that other arms have")
    placed = {chain.folder for chain in all_chains(evidence.chains)}
    for chain in chains:
        if chain.config.get("objective") is not None and chain.seed < FIRST_TRIAL_SEED:
            found.append(f"{chain.label} is a trial on a reported seed: searches use seeds from {FIRST_TRIAL_SEED} on")
        elif chain.folder not in placed:
            found.append(f"{chain.label} is of no arm: another recipe or protocol")
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
        run([*finding.command, *finding.arms[arm], f"seed={seed}", f"hydra.run.dir={folder}/chain"])
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
