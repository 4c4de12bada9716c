"""Run the same short chains at a commit and in the working tree, and compare what they recorded to the last digit.

Both trees run with the packages of this environment, side by side with a thread each. Compared are the lines of
`records.jsonl` (metrics, pools, losses, class shares, fitted parameters, counts), the loss curves, and the samples and
film strips. Not compared are what a clock, the memory or a checksum says, and what feature spaces are called.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COMPARED = (
    "generation", "seed", "data", "model", "regime", "pool", "num_evaluated", "num_real", "batches", "metrics",
    "training", "class_shares", "selection", "fitted",
)  # fmt: skip
SHORT = (
    "tracking=none",
    "num_generations=3",
    "num_threads=1",
    "trainer.accelerator=cpu",
    "trainer.max_steps=40",
    "evaluation.accelerator=cpu",
)
QUICK = ("data.num_train=300", "evaluation.num_samples=200", "evaluation.num_training=200")
FEW = ("data.num_test=400", "data.num_reserve=0", "trainer.max_steps=10", "num_generations=2")
STUDIES = {  # each is a multirun, and so one start of the program
    "families": (*QUICK, "model=vae,gan", "regime=replace,accumulate"),
    "mixed": (*QUICK, "regime=mix_linear,weighted,golden_ratio,window,accumulate_subsample,fresh_real"),
    "biased": (*QUICK, "model=vae,gan", "bias=truncated_latents,scaled_latents"),
    "selected": (
        *QUICK, "model=gan", "selection=most_realistic,curated,farthest,deduplicated", "num_generations=2",
    ),
    "likelihood": (*QUICK, "model.sample_from=likelihood", "bias=none,tempered_likelihood"),
    "losses": (*QUICK, "model=gan", "model.loss=hinge,wgan_gp", "model.critic_steps=2", "num_generations=2"),
    "everything": (*QUICK, "evaluation=full", "num_generations=2", "seed=0,1"),
    "analytic": ("data=gaussian", "model=gaussian", "regime=replace,fixed_real", "num_generations=4"),
    "modes": ("data=ring", "model=mixture", "evaluation=full", "evaluation.num_samples=500", "seed=0,1"),
    "tables": ("data=breast_cancer", "model=table_vae,table_gan"),
    "scenes": ("data=scenes", *QUICK, *FEW),
    "stacked": ("data=stacked_mnist", *QUICK, *FEW),
    "levered": (
        *QUICK, "lever=[ema,class_conditional]", "cause=[label_noise,blur]", "selection=most_confident",
        "correction=optimal_transport", "correction.num_anchors=100", "judge.budget.num_steps=40",
        "judge.min_accuracy=0", "num_generations=2",
    ),
}  # fmt: skip
NEEDS_MNIST = "stacked"
KILLED = (*SHORT, *QUICK, "regime=accumulate", "num_generations=4", "seed=0", "hydra.run.dir=killed")


class Side:
    """One tree, and where its chains are kept."""

    def __init__(self, name: str, tree: Path, folder: Path) -> None:
        self.name, self.tree, self.folder = name, tree, folder
        folder.mkdir()

    def start(self, *overrides: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / "log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(self.tree / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
        command = [sys.executable, "-m", "collapsar", *overrides, f"evaluation.cache_folder={self.folder / 'spaces'}"]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def run(self, *overrides: str) -> None:
        if self.start(*overrides).wait():
            raise SystemExit(f"{self.name}: {' '.join(overrides)} failed:\n{self.log()[-3000:]}")

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def run_everything(self) -> None:
        for name, overrides in studies().items():
            self.run("-m", *SHORT, *overrides, f"hydra.sweep.dir={name}", "hydra.sweep.subdir=${hydra.job.num}")
        self.run_killed()

    def run_killed(self) -> None:
        """A chain that is killed once a generation stands in its records, and then continued."""
        process, records = self.start(*KILLED), self.folder / "killed" / "records.jsonl"
        while process.poll() is None and not (records.exists() and records.read_bytes().count(b"\n")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.run(*KILLED)

    def chains(self) -> dict[str, Path]:
        return {str(path.parent.relative_to(self.folder)): path.parent for path in self.folder.rglob("records.jsonl")}


def studies() -> dict[str, tuple[str, ...]]:
    """The studies that can be run here: without MNIST in the folder that COLLAPSAR_DATA names, none of its stacks."""
    folder = os.environ.get("COLLAPSAR_DATA")
    has_mnist = folder is not None and (Path(folder) / "MNIST").is_dir()
    return {name: overrides for name, overrides in STUDIES.items() if has_mnist or name != NEEDS_MNIST}


def differences(old: Path, new: Path, *, fid_tolerance: float, compared: Sequence[str] = COMPARED) -> Iterator[str]:
    """What is not the same in two run folders, a line for each."""
    old_lines, new_lines = (
        [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()] for folder in (old, new)
    )
    if len(old_lines) != len(new_lines):
        yield f"{len(old_lines)} generations, now {len(new_lines)}"
    for before, after in zip(old_lines, new_lines, strict=False):
        place = f"generation {before['generation']}"
        for part in compared:
            yield from compare(before.get(part), after.get(part), key=f"{place} {part}", fid_tolerance=fid_tolerance)
        yield from compare_files(old, new, f"generation_{before['generation']:03d}")


def compare(before: Any, after: Any, *, key: str, fid_tolerance: float) -> Iterator[str]:
    """Two values of a record, key by key."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before | after:
            yield from compare(before.get(name), after.get(name), key=f"{key}.{name}", fid_tolerance=fid_tolerance)
        return
    if before == after:
        return
    is_fid = key.rpartition(".")[2].rpartition("/")[2].startswith("fid")
    is_number = isinstance(before, float) and isinstance(after, float)
    if is_fid and is_number and math.isclose(before, after, rel_tol=fid_tolerance, abs_tol=fid_tolerance):
        return
    yield f"{key}: {before!r}, now {after!r}"


def compare_files(old: Path, new: Path, name: str) -> Iterator[str]:
    """Samples, film strips and loss curves of a generation."""
    with np.load(old / name / "samples.npz") as before, np.load(new / name / "samples.npz") as after:
        for array in before:
            if array not in after or not np.array_equal(before[array], after[array]):
                yield f"{name}/samples.npz: {array} differs"
    curves = [folder / name / "curve.json" for folder in (old, new)]
    before, after = (json.loads(path.read_text()) if path.exists() else [] for path in curves)
    shared = [{key: now.get(key) for key in then} for then, now in zip(before, after, strict=False)]  # newer keys aside
    if len(before) != len(after) or before != shared:
        yield f"{name}/curve.json differs"


def main() -> int:
    """0 where everything is the same; 1 with a line for each difference."""
    parser = argparse.ArgumentParser(prog="scripts/same-records", description=__doc__)
    parser.add_argument("commit", help="what the working tree is compared with")
    parser.add_argument("--fid-tolerance", type=float, default=0.0, help="relative, for keys that start with fid")
    parser.add_argument(
        "--leave-out", nargs="+", default=[], choices=COMPARED, help="of a record, where it must differ"
    )
    parser.add_argument("--keep", action="store_true", help="keep the run folders, and say where")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="same-records-"))
    tree = scratch / "tree"
    subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), options.commit], check=True)
    try:
        sides = Side(options.commit, tree, scratch / "old"), Side("the working tree", ROOT, scratch / "new")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Side.run_everything, sides))
        old, new = (side.chains() for side in sides)
        compared = [part for part in COMPARED if part not in options.leave_out]
        found = [f"{name}: only on one side" for name in sorted(old.keys() ^ new.keys())]
        for name in sorted(old.keys() & new.keys()):
            lines = differences(old[name], new[name], fid_tolerance=options.fid_tolerance, compared=compared)
            found += [f"{name}: {line}" for line in lines]
        sys.stdout.write("".join(f"{line}\n" for line in found))
        for name in STUDIES.keys() - studies().keys():
            sys.stdout.write(f"{name}: left out, because COLLAPSAR_DATA names no folder with MNIST\n")
        verdict = "the same" if not found else f"{len(found)} differences"
        sys.stdout.write(f"{len(old)} chains at {options.commit} and in the working tree: {verdict}\n")
        return int(bool(found) or not old)
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
        if options.keep:
            sys.stdout.write(f"{scratch}\n")
        else:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    sys.exit(main())
