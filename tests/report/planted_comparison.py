"""Run folders of a comparison: a baseline and arms with a planted effect, or none, on how fast recall falls."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from planted_runs import write_records, write_run

from collapsar.foundations.chosen import CHOICES

MIX = {"regime": {"_target_": "collapsar.data.regimes.Mix", "real_fraction": 0.1}}
ARMS: dict[str, tuple[float, dict[str, Any]]] = {  # by name: the share of recall lost a generation, and what is set
    "replace": (0.4, {}),
    "gradient clipping": (0.2, {"training": {"gradient_clip_norm": 1.0}}),
    "gradient_clip_norm=2.0": (0.4, {"training": {"gradient_clip_norm": 2.0}}),
    "mix, real_fraction=0.1": (0.1, MIX),
    "width=8": (0.65, {"model": {"_target_": "collapsar.models.vae.vae.VAE", "_partial_": True, "width": 8}}),
}


def write_comparison(folder: Path, *, seeds: Sequence[int] = range(6), num_generations: int = 8) -> Path:
    """Every arm with every seed, with all outcomes; seconds and steps differ by arm."""
    for name, (rate, settings) in ARMS.items():
        for seed in seeds:
            noise = np.random.default_rng([seed, *name.encode()])
            run = write_run(
                folder / f"{name}-{seed}",
                seed=seed,
                num_generations=num_generations,
                rate=rate + float(noise.normal(0, 0.02)),
                with_images=False,
            )
            change(run, settings)
            (run / CHOICES).write_text(json.dumps({"arm": name, "choices": {}, "settings": name}))
            if settings == MIX:
                edit_records(run, lambda record: record.update(regime="mix"))
            add_outcomes(run, noise, num_steps=400 if name == "width=8" else 450)
    return folder


def change(run: Path, settings: dict[str, Any]) -> None:
    """Other parts in the resolved config of a run."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | settings))


def edit_records(run: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Changes every record of a run in place; its checksum is that of what it holds then."""
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        edit(record)
    write_records(run, records)


def add_outcomes(run: Path, noise: np.random.Generator, *, num_steps: int) -> None:
    """Recall of the worst class and downstream scores that follow recall, and the steps that were trained."""

    def add(record: dict[str, Any]) -> None:
        recall = record["metrics"]["recall"]
        record["metrics"] |= {
            "recall_worst_class": 0.5 * recall,
            "downstream_accuracy": float(np.clip(0.1 + 0.8 * recall + noise.normal(0, 0.02), 0, 1)),
            "downstream_f1": float(np.clip(0.8 * recall + noise.normal(0, 0.02), 0, 1)),
        }
        record["training"] = {"steps": float(num_steps)}
        record["pool"]["origins"] = {"real": 1437} if record["generation"] == 0 else {str(record["generation"]): 1437}

    edit_records(run, add)
