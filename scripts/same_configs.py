"""Compose every valid combination of choices at a commit and in the working tree, and compare the settings.

Each data set is composed with each model in each size, and every other choice in conf on data and a model that fit. The
commit says which choices there are. Compared are the resolved settings by dotted key, what a sweeper and a launcher are
given, and the folder of the chain, whose name holds the digest. The order of keys does not count, nor the module of a
class of ours. What the commit refuses must be refused here too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS = ("collapsar.", "hydra_plugins.collapsar_")
SIZES = ("small", "full", "tiny")
PLAIN = ("regime", "bias", "correction", "selection", "evaluation", "training", "trainer", "tracking", "alarm", "judge")
ONCE = {group: f"{group}={{}}" for group in (*PLAIN, "experiment")} | {  # how a choice of each group is typed
    "cause": "cause=[{}]",
    "lever": "lever=[{}]",
    "stick": "stick@evaluation.spaces.classifier={}",
    "table_metrics": "table_metrics@evaluation.table={}",
    "space": "+space@evaluation.spaces.{0}={0}",
}
ON_MNIST_TOO = ("cause", "lever", "experiment")  # they come after the recipe
ON_ALL_DATA = ("stick@evaluation.spaces.classifier=trained", "judge=pca", "table_metrics@evaluation.table=default")

Side = dict[str, dict[str, Any] | None]
"""What each combination is resolved to, by dotted key; None if it is refused."""


def choices(conf: Path, group: str) -> list[str]:
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def combinations(conf: Path) -> Iterator[tuple[str, ...]]:
    """The overrides of every combination that is compared."""
    for data, model, size in product(choices(conf, "data"), choices(conf, "model"), SIZES):
        yield f"data={data}", f"model={model}", f"size={size}"
    for group, typed in ONCE.items():
        for override in map(typed.format, choices(conf, group)):
            yield (override,)
            if group in ON_MNIST_TOO:
                yield "data=mnist", "model=gan", override
    for data, override in product(choices(conf, "data"), ON_ALL_DATA):
        yield f"data={data}", override


def compose_all(posed: Sequence[str]) -> None:
    """Write what each combination is resolved to, a line of JSON for each, as the tree does that is imported here."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    import collapsar

    moved = find_spec("collapsar.config")  # since the module stands in a room of its own
    import_module("collapsar.config.composition" if moved else "collapsar.composition").register()
    conf = Path(str(collapsar.__file__)).parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        for overrides in posed:
            try:
                found = resolved(compose("config", overrides=overrides.split(), return_hydra_config=True))
            except (HydraException, OmegaConfBaseException, ValueError):
                found = None
            sys.stdout.write(f"{json.dumps(found)}\n")


def resolved(config: Any) -> dict[str, Any]:
    """Settings, sweeper, launcher and the folder of the chain by dotted key."""
    from omegaconf import OmegaConf

    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    found = flatten(OmegaConf.to_container(own, resolve=True, throw_on_missing=True))
    for part in ("sweeper", "launcher", "mode"):
        node = config.hydra[part]
        plain = OmegaConf.to_container(node) if OmegaConf.is_config(node) else str(node)
        found |= flatten({"hydra": {part: plain}})
    return found | {"folder": config.hydra.run.dir}


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key; a class of ours by its name alone."""
    if isinstance(value, Mapping) and value:
        return {
            key: leaf
            for name, inner in value.items()
            for key, leaf in flatten(inner, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: without_modules(value, is_target=prefix.endswith("_target_"))}


def without_modules(value: Any, *, is_target: bool) -> Any:
    if isinstance(value, Mapping):
        return {name: without_modules(inner, is_target=name == "_target_") for name, inner in value.items()}
    if isinstance(value, list):
        return [without_modules(inner, is_target=False) for inner in value]
    return value.rpartition(".")[2] if is_target and str(value).startswith(OURS) else value


def differences(old: Side, new: Side) -> Iterator[str]:
    """What is not the same, a line for each key of each combination."""
    for overrides, before in old.items():
        after = new[overrides]
        if before is None or after is None:
            if before is not after:
                yield f"{overrides}: valid, now refused" if after is None else f"{overrides}: refused, now valid"
            continue
        for key in sorted(before | after):
            told = [json.dumps(side[key]) if key in side else "nothing" for side in (before, after)]
            if told[0] != told[1]:
                yield f"{overrides}: {key}: {told[0]}, now {told[1]}"


def start(tree: Path, posed: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Begin to compose the combinations as a tree does."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    folder.mkdir()
    (folder / "posed.json").write_text(json.dumps(posed))
    command = [sys.executable, str(Path(__file__)), "--compose", str(folder / "posed.json")]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=(folder / "resolved").open("wb"))


def read(process: "subprocess.Popen[bytes]", posed: Sequence[str], folder: Path) -> Side:
    """What a process found, when it is done."""
    if process.wait():
        raise SystemExit(f"{folder.name}: composing failed")
    lines = (folder / "resolved").read_text().splitlines()
    return dict(zip(posed, map(json.loads, lines), strict=True))


def main() -> int:
    """0 if everything is the same; 1 with a line for each difference."""
    parser = argparse.ArgumentParser(prog="scripts/same-configs", description=__doc__)
    parser.add_argument("commit", nargs="?", help="what the working tree is compared with")
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="OVERRIDE", help="choices that are gone on purpose"
    )
    parser.add_argument("--compose", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compose:
        compose_all(json.loads(options.compose.read_text()))
        return 0
    with tempfile.TemporaryDirectory(prefix="same-configs-") as name:
        scratch, tree = Path(name), Path(name) / "tree"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), options.commit], check=True)
        try:
            posed = [
                " ".join(combination)
                for combination in combinations(tree / "conf")
                if not set(combination) & set(options.leave_out)
            ]
            folders = {scratch / "old": tree, scratch / "new": ROOT}
            started = [start(side, posed, folder) for folder, side in folders.items()]
            old, new = (read(process, posed, folder) for process, folder in zip(started, folders, strict=True))
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
    found = list(differences(old, new))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    num_valid = sum(side is not None for side in old.values())
    verdict = "all equal" if not found else f"{len(found)} differences"
    sys.stdout.write(
        f"{num_valid} combinations, {verdict} ({len(old) - num_valid} more are refused at {options.commit})\n"
    )
    return int(bool(found) or not num_valid)


if __name__ == "__main__":
    sys.exit(main())
