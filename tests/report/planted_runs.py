"""Run folders made of real digits with a planted collapse, as the loop would write them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.datasets import load_digits

from collapsar.foundations.files import line_with_checksum
from collapsar.foundations.record import GenerationRecord

NUM_CLASSES = 10
NUM_SYNTHETIC = 1437
NUM_EVALUATED = 360
RATES = {"replace": 0.55, "accumulate": 0.06}  # share of recall lost a generation


def write_run(
    folder: Path,
    *,
    model: str = "vae",
    regime: str = "replace",
    seed: int = 0,
    num_generations: int = 8,
    num_finished: int | None = None,
    name: str = "quickstart",
    rate: float | None = None,
    with_images: bool = True,
    num_more_metrics: int = 0,
    settings: dict[str, Any] | None = None,
) -> Path:
    """One run folder; `rate` is the share of recall that each generation loses.

    The standard evaluation has about 75 metrics more than these, and as many floors.
    """
    folder.mkdir(parents=True)
    rate = RATES[regime] if rate is None else rate
    config = {
        "name": name,
        "seed": seed,
        "num_generations": num_generations,
        "num_synthetic": NUM_SYNTHETIC,
        "data": {"_target_": "collapsar.data.sources.real.Digits", "num_train": None},
        "model": {"_target_": f"collapsar.models.{model}.{model.upper()}", "_partial_": True, "width": 32},
        "regime": {"_target_": f"collapsar.data.regimes.{regime.capitalize()}"} | (settings or {}),
        "evaluation": {"_target_": "collapsar.judging.evaluator.Evaluator", "num_neighbours": 3},
        "trainer": {"_target_": "lightning.Trainer", "max_steps": 1500 if model == "vae" else 4000},
        "tracking": {"_target_": "collapsar.journal.tracking.NoTracking"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    generator = np.random.default_rng([seed, *model.encode(), *regime.encode()])
    finished = num_generations if num_finished is None else num_finished
    records = [record_at(t, generator, model=model, regime=regime, seed=seed, rate=rate) for t in range(finished)]
    for record in records:
        more = {f"pca/metric_{number}": float(generator.uniform()) for number in range(num_more_metrics)}
        record.metrics.update(more | {f"{key}_floor": 0.5 for key in more})
    (folder / "records.jsonl").write_text("".join(record.to_json() + "\n" for record in records))
    if with_images:
        write_strips(folder, records, rate=rate, seed=seed)
    return folder


def record_at(
    generation: int, generator: np.random.Generator, *, model: str, regime: str, seed: int, rate: float
) -> GenerationRecord:
    """A record with the numbers of a chain that loses `rate` of its recall and of its rarer classes a generation."""
    kept = (1 - rate) ** generation
    weights = np.exp(-generation * rate * np.linspace(0, 1.5, NUM_CLASSES)) * generator.dirichlet(
        np.full(NUM_CLASSES, 60)
    )
    shares = generator.multinomial(NUM_EVALUATED, weights / weights.sum()) / NUM_EVALUATED
    real = np.full(NUM_CLASSES, 0.1)
    metrics = {
        "fid": 12 * (2.2 - 1.2 * kept) ** 2 * float(generator.uniform(0.93, 1.07)) + (3 if model == "gan" else 0),
        "fid_floor": 1.37,
        "precision": float(np.clip(0.82 + 0.1 * (1 - kept) + generator.normal(0, 0.015), 0, 1)),
        "precision_floor": 0.93,
        "recall": float(np.clip((0.62 if model == "vae" else 0.48) * kept + generator.normal(0, 0.008), 0, 1)),
        "recall_floor": 0.94,
        "classes_dropped": float((shares < 0.01).sum()),
        "class_entropy": float(-sum(share * math.log(share) for share in shares if share > 0)),
        "pca/trace_ratio": 0.95 * kept + 0.006,
        "pca/recall": 0.7 * kept,
    }
    return GenerationRecord(
        generation=generation,
        seed=seed,
        data="digits",
        model=model,
        regime=regime,
        pool={"size": NUM_SYNTHETIC, "real_fraction": float(generation == 0), "origins": {"real": NUM_SYNTHETIC}},
        num_evaluated=NUM_EVALUATED,
        num_real=NUM_EVALUATED,
        metrics=metrics,
        seconds={"train": 1.9 + 0.1 * seed, "sample": 0.08, "evaluate": 0.41},
        class_shares={"real": real.tolist(), "synthetic": shares.tolist()},
        peak_memory_bytes=910_000_000,
    )


def write_strips(folder: Path, records: Sequence[GenerationRecord], *, rate: float, seed: int) -> None:
    """Twelve digits that drift towards the mean of one class as the chain loses recall, real digits, and losses."""
    digits = load_digits()
    images = (digits.images * (255 / 16)).astype(np.float64)
    chosen = np.random.default_rng(seed).choice(len(images), 12, replace=False)
    prototype = images[digits.target == 1].mean(axis=0)
    for record in records:
        lost = 1 - (1 - rate) ** record.generation
        strip = ((1 - lost) * images[chosen] + lost * prototype).clip(0, 255).astype(np.uint8)[:, None]
        place = folder / f"generation_{record.generation:03d}"
        place.mkdir()
        real = images[chosen].astype(np.uint8)[:, None]
        np.savez_compressed(place / "samples.npz", samples=strip, strip=strip, real=real, nearest=real[::-1])
        curve = [{"step": 20.0 * step, "epoch": 0.0, "loss": 30 / step + lost, "kl": 5.0} for step in range(1, 6)]
        (place / "curve.json").write_text(json.dumps(curve))


def write_sweep(folder: Path) -> None:
    for model in ("vae", "gan"):
        for regime in ("replace", "accumulate"):
            for seed in range(3):
                write_run(folder / f"{model}-{regime}-{seed}", model=model, regime=regime, seed=seed)
    write_run(folder / "vae-replace-3", seed=3, num_finished=4)
    failed = write_run(folder / "gan-replace-3", model="gan", seed=3, num_finished=2)
    status = {"state": "failed", "message": "loss is NaN at generation 2, epoch 1, step 17"}
    (failed / "status.json").write_text(json.dumps(status))
    write_run(folder / "vae-replace-4", seed=4, num_finished=0)


def write_records(run: Path, records: list[dict[str, Any]]) -> None:
    """Records as they were read from their lines and changed, each with the checksum of what it is now."""
    bodies = [{key: value for key, value in record.items() if key != "checksum"} for record in records]
    (run / "records.jsonl").write_text("".join(f"{line_with_checksum(json.dumps(body))}\n" for body in bodies))
