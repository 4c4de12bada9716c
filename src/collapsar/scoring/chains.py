"""Stored generations of chains: their samples, and the settings, pool and random streams that their records came from.

With these a score equals the record to the last digit. A folder may come from somebody else: only classes of this
package that `conf` names are made from its settings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from collapsar.chain.loop import pool_of
from collapsar.config.composition import file_checksum
from collapsar.data.causes.cause import checked_causes, plant_all
from collapsar.data.real_data import RealData, Source
from collapsar.errors import UsageError
from collapsar.judging.evaluation import Evaluation
from collapsar.machine.devices import has_device
from collapsar.records.record import GenerationRecord
from collapsar.records.settings import config_folder
from collapsar.samples import Samples
from collapsar.scoring.parts import made
from collapsar.scoring.samples_of import read_samples
from collapsar.seeding import make_generator
from collapsar.study.chains import Chain, read_chains


@dataclass(frozen=True)
class StoredGeneration:
    """A finished generation in a run folder."""

    chain: Chain
    record: GenerationRecord

    @property
    def number(self) -> int:
        return self.record.generation

    @property
    def name(self) -> str:
        return f"{self.chain.folder.name}/generation_{self.number:03d}"

    def samples(self, generation: int | None = None) -> Samples:
        """The samples that this generation, or another one of the chain, gave to the next pool."""
        number = self.number if generation is None else generation
        path = self.chain.folder / f"generation_{number:03d}" / "samples.npz"
        return read_samples(path, name=str(path)).samples

    def is_of(self, real: str) -> bool:
        """Whether `real` names this chain's data: the data set, or a file with the content of its table."""
        checksum = self.chain.config["data"].get("checksum")
        return real == self.record.data or (checksum is not None and file_checksum(real) == checksum)

    @cached_property
    def source(self) -> Source:
        return cast("Source", self._made("data"))

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation of the chain, on the device of the record if this machine has one."""
        device = self.record.machine.get("evaluated_on", "cpu")
        return cast("Evaluation", self._made("evaluation", accelerator=device if has_device(device) else "auto"))

    def trained_on(self, clean: RealData, *, num_samples: int) -> Samples:
        """The samples of the generation's pool that novelty is asked against; `clean` is the chain's data as read."""
        source, seed = self.source, self.record.seed
        shape, num_classes, factors = source.sample_shape, source.num_classes, source.factors
        cause, plan, regime = (self._made(key) for key in ("cause", "training", "regime"))
        causes = checked_causes(cause, sample_shape=shape, num_classes=num_classes, factors=factors)
        real = plant_all(causes, clean, seed=seed)
        num_held_out = plan.num_validation(len(real.train)) if plan.holds_out_real else 0
        real, _ = real.hold_out(num_held_out, seed=seed)
        pool = pool_of(self.number, real=real, regime=regime, seed=seed, stored=self.samples)
        return pool.draw(num_samples, generator=make_generator(seed, self.number, "novelty"))

    def _made(self, key: str, **changes: Any) -> Any:
        return made(key, with_known_paths(self.chain.config.get(key) or {}) | changes)


def stored_generations(path: Path, *, has_all: bool) -> list[StoredGeneration]:
    """The last or all generations of a run folder, or that of a generation's folder; none for other paths."""
    own = re.fullmatch(r"generation_(\d+)", path.resolve().name)
    folder = path.resolve().parent if own else path
    if not (folder / "config.yaml").is_file():
        return []
    chain = read_chains([folder])[0]
    if not chain.records:
        raise UsageError(f"{path} holds no finished generation: the command that made the chain continues it")
    found = [StoredGeneration(chain, record) for record in chain.records]
    if own is None:
        return found if has_all else found[-1:]
    if chosen := [each for each in found if each.number == int(own[1])]:
        return chosen
    raise UsageError(f"{path} is not finished: it has no record in {folder / 'records.jsonl'}")


def with_known_paths(node: Any) -> Any:
    """Settings in which each `_target_` is the present path of a class that `conf` names; others are refused."""
    if isinstance(node, list):
        return [with_known_paths(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    return {key: known_path(value) if key == "_target_" else with_known_paths(value) for key, value in node.items()}


def known_path(target: str) -> str:
    """The present path of a class of ours."""
    files = sorted(config_folder().rglob("*.yaml"))
    paths = [path for file in files for path in re.findall(r"_target_: (collapsar\.[\w.]+)", file.read_text("utf-8"))]
    known = {path.rpartition(".")[2]: path for path in paths}
    name = str(target).rpartition(".")[2]
    if not str(target).startswith("collapsar.") or name not in known:
        raise UsageError(
            f"the chain uses {target}, which does not come with this package: give REAL as a folder or a file"
        )
    return known[name]
