"""What only a GPU can show: its tests, the speed of training, chains that share it, and a full CIFAR-10 generation.

    scripts/gpu-check [--dry] [--output FOLDER]

Each step has a limit of its own; together they end within 12 minutes on an H200. A step that fails or runs past its
limit stops no other. `gpu-check.json` holds what was run and measured, and the same comes as a table. `--dry` runs
every step small on whatever there is, so that a machine without a GPU finds mistakes in the steps themselves.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
TESTS = "tests"
TAIL_LINES = 15  # of the output of a step that failed
CHAINS = "seed=0,1,2,3 hydra/launcher=joblib hydra.launcher.n_jobs=4 hydra.launcher.jobs_per_gpu=4 tracking=none"
FULL, DRY = "data=cifar10 model=gan size=full num_generations=1", "data=digits model=gan size=tiny num_generations=1"


@dataclass(kw_only=True)
class Step:
    """A command with its limit, and what came of it."""

    name: str
    command: list[str]
    limit: int  # seconds
    outputs: Path | None = None  # the folder of its chains, or the file of its figures
    seconds: float = 0.0
    outcome: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def run(self, log: Path) -> None:
        """Run the command, with its output in a file; note how it ended, and what its chains recorded."""
        start = time.monotonic()
        with log.open("w") as file:
            try:
                done = subprocess.run(
                    self.command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, timeout=self.limit, check=False
                )
                self.outcome = "passed" if done.returncode == 0 else f"exit code {done.returncode}"
            except subprocess.TimeoutExpired:
                self.outcome = f"stopped after {self.limit} s"
        self.seconds = round(time.monotonic() - start, 1)
        lines = log.read_text(errors="replace").splitlines()
        if self.name == TESTS:
            self.figures = {"pytest": lines[-1].strip("= ") if lines else ""}
            if self.outcome == "passed" and torch.cuda.is_available() and " passed" not in self.figures["pytest"]:
                self.outcome = "no test ran"
        elif self.outputs is not None and self.outputs.is_dir():
            self.figures = recorded(self.outputs)
        elif self.outputs is not None and self.outputs.is_file():
            self.figures = {"bench": json.loads(self.outputs.read_text())}
        if self.outcome != "passed":
            self.figures["output"] = lines[-TAIL_LINES:]


def recorded(outputs: Path) -> dict[str, Any]:
    """Of each chain, its device and, of its last generation, the main metrics and the seconds."""
    found = {}
    for path in sorted(outputs.rglob("records.jsonl")):
        record = json.loads(path.read_text().splitlines()[-1])
        metrics = {key: record["metrics"].get(key) for key in ("fid", "precision", "recall", "coverage")}
        machine = path.with_name("machine.json")
        found[path.parent.name] = {
            "generation": record["generation"],
            "metrics": metrics,
            "seconds": record["seconds"],
            "machine": json.loads(machine.read_text()) if machine.exists() else None,
        }
    return found


def steps(output: Path, *, is_dry: bool) -> list[Step]:
    """The steps, in the order of what a short time would show first."""
    collapsar = [sys.executable, "-m", "collapsar"]
    chains, full = output / "side_by_side", output / "cifar10"
    small = ["data=digits", "size=tiny"] if is_dry else ["data=mnist", "num_generations=2"]
    speeds = output / "bench.json"
    bench = [sys.executable, "-m", "collapsar.jobs.bench", "training", "--quick", "--json", str(speeds)]
    few = ["--data", "digits", "--models", "vae"] if is_dry else []
    return [
        Step(
            name=TESTS,
            command=[sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"],
            limit=200,
        ),
        Step(
            name="four chains on one GPU",
            command=[*collapsar, "-m", *small, *CHAINS.split(), f"hydra.sweep.dir={chains}"],
            limit=120,
            outputs=chains,
        ),
        Step(
            name="CIFAR-10, full" if not is_dry else "in place of CIFAR-10",
            command=[*collapsar, *(DRY if is_dry else FULL).split(), "tracking=none", f"hydra.run.dir={full}"],
            limit=250,
            outputs=full,
        ),
        Step(name="bench", command=[*bench, *few], limit=150, outputs=speeds),
    ]


def machine() -> dict[str, Any]:
    """The device, the versions and the commit that the figures belong to."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    has_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(0) if has_gpu else f"no GPU: {platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def as_table(done: Sequence[Step], device: str) -> Table:
    """A line for each step."""
    table = Table("step", "seconds", "outcome", "figures", title=device)
    for step in done:
        table.add_row(step.name, f"{step.seconds:.0f}", step.outcome, "\n".join(in_words(step.figures)))
    return table


def in_words(figures: dict[str, Any]) -> list[str]:
    """The figures of a step, a line for each chain."""
    if "pytest" in figures:
        return [figures["pytest"]]
    return [
        f"seed {name.partition('seed')[2].partition('_')[0] or 0}: training {own['seconds']['train']:.1f} s, "
        + ", ".join(f"{key} {value:.3g}" for key, value in own["metrics"].items() if value is not None)
        for name, own in figures.items()
        if isinstance(own, dict)
    ]


def main() -> int:
    """Run all steps; returns 0 if each passed, 2 without a GPU unless the run is dry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="small sizes, with or without a GPU")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "gpu-check", help="where all files go")
    options = parser.parse_args()
    if not (options.dry or torch.cuda.is_available()):
        sys.stderr.write("gpu-check: torch finds no GPU; --dry runs the steps small, on a CPU\n")
        return 2
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    console, found, done = Console(), machine(), []
    for number, step in enumerate(steps(output, is_dry=options.dry), start=1):
        console.print(f"{number} of 4: {step.name}, at most {step.limit} s", highlight=False)
        step.run(output / f"step{number}.log")
        done.append(step)
        report = {**found, "is_dry": options.dry, "steps": [{**asdict(each), "outputs": None} for each in done]}
        (output / "gpu-check.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
    console.print(as_table(done, found["device"]))
    console.print(f"{output / 'gpu-check.json'}")
    return int(any(step.outcome != "passed" for step in done))


if __name__ == "__main__":
    sys.exit(main())
