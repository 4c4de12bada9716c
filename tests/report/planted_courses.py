"""Chains in memory with a planted course of recall, and a page as its reader sees it."""

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from planted_runs import record_at

from collapsar.study.chains import Chain

NUM_GENERATIONS = 6


def chain_of(
    recalls,
    *,
    seed=0,
    ending="",
    num_generations=NUM_GENERATIONS,
    regime="replace",
    dropped=None,
    coverage=None,
    **metrics,
):
    """A chain in memory with this course of recall; None leaves recall out."""
    generator = np.random.default_rng(seed)
    records = []
    for generation, recall in enumerate(recalls):
        record = record_at(generation, generator, model="vae", regime=regime, seed=seed, rate=0.0)
        own = {"fid": 10.0, "precision": 0.9, "recall": recall, "recall_floor": 0.95}
        own |= {"coverage": coverage, "coverage_floor": None if coverage is None else 0.9}
        own |= {"classes_dropped": None if dropped is None else float(dropped[generation])}
        own |= {key: values[generation] for key, values in metrics.items()}
        records.append(
            replace(
                record,
                class_shares={},
                metrics={key: value for key, value in own.items() if value is not None},
            )
        )
    problem = "" if len(recalls) >= num_generations and not ending else f"{ending or 'running'} after {len(recalls)}"
    return Chain(
        folder=Path(f"{regime}-{seed}"),
        label=f"{regime}-{seed}",
        config={"seed": seed, "num_generations": num_generations, "model": "vae", "data": "digits", "regime": regime},
        records=tuple(records),
        overrides=(),
        versions={},
        problem=problem,
        ending=ending,
    )


def replace_regime(chain):
    """The regime as a class, as resolved settings name it."""
    target = f"collapsar.data.regimes.{chain.config['regime'].capitalize()}"
    return replace(chain, config=chain.config | {"regime": {"_target_": target}})


def text_of(page):
    """A page as a reader sees it, on one line."""
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
