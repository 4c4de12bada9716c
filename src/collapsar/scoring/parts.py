"""The data set and the evaluation that a score uses: composed from `conf`, or those of a stored generation's chain.

With the settings, pool and random streams of its record, a generation's score equals the record to the last digit. A
run folder may come from somebody else: only classes of this package that `conf` names are made from its settings.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from collapsar.chain.loop import pool_of
from collapsar.config.composition import file_checksum
from collapsar.config.constructors import check_part, instantiated
from collapsar.config.experiment import parts
from collapsar.data.causes.cause import checked_causes, plant_all
from collapsar.data.real_data import RealData, Source
from collapsar.foundations.errors import UsageError, printable
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator
from collapsar.foundations.settings import QUICK_LOADER, config_folder
from collapsar.judging.evaluation import PRIMARY_SPACE, Evaluation
from collapsar.judging.spaces.base import FeatureSpace
from collapsar.library.composing import compose_settings
from collapsar.machine.devices import has_device
from collapsar.scoring.samples_of import read_samples
from collapsar.study.chains import Chain, read_chains

STICK = f"stick@evaluation.spaces.{PRIMARY_SPACE}"
SETTABLE = ("data.", "evaluation.")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user chose; `measure.score` explains each."""

    stick: str | None = None  # empty: no stick, even if the data set has one
    spaces: Sequence[str | FeatureSpace] = ()
    evaluation: str = "standard"
    train: Any = None
    resize: int | None = None
    is_labelled: bool = True
    settings: Sequence[str] = ()

    @property
    def names_settings(self) -> bool:
        """Whether anything was chosen that a chain's own settings would decide."""
        return self.train is not None or replace(self, train=None) != Options()


def choices(group: str) -> list[str]:
    """The names of the files of a group of `conf`."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def _check_choice(option: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UsageError(f"{option} must be one of {', '.join(known)}: got {printable(name)}")


@cache
def measured_shape(stick: str) -> tuple[int, ...]:
    """The shape of the samples that a stick measures: that of its data set; empty if it is not known."""
    path = config_folder() / "data" / f"{stick}.yaml"
    content = yaml.load(path.read_text("utf-8"), QUICK_LOADER) if path.is_file() else {}
    shape = content.get("sample_shape")
    return tuple(shape) if isinstance(shape, list) else ()  # images of one's own have no shape before they are read


def check_stick(stick: str, *, shape: tuple[int, ...] | None = None) -> None:
    """Refuse a stick that does not exist or does not measure samples of a shape; the text lists those that do."""
    shipped = [name for name in choices("stick") if measured_shape(name)]
    _check_choice("--stick", stick, [*shipped, "train"])
    if shape is not None and stick != "train" and measured_shape(stick) != shape:
        fitting = [name for name in shipped if measured_shape(name) == shape]
        raise UsageError(
            f"the {stick} stick measures samples of shape {list(measured_shape(stick))}, and REAL has {list(shape)}: "
            f"--stick must be {', '.join([*fitting, 'train'])}, or leave it out"
        )


def evaluation_of(data: str, options: Options) -> tuple[DictConfig, Evaluation]:
    """The composed configuration with a data set of this name, and the evaluation with the spaces that were chosen."""
    stick, spaces = options.stick, options.spaces
    _check_choice("--evaluation", options.evaluation, choices("evaluation"))
    for setting in options.settings:
        if not setting.lstrip("+~").startswith(SETTABLE):
            raise UsageError(f"--set takes settings of data. and evaluation.: got {printable(setting)}")
    overrides = [f"data={data}", f"evaluation={options.evaluation}"]
    if stick:
        check_stick(stick)
        overrides.append(f"{STICK}={'trained' if stick == 'train' else stick}")
    named, given = choices("space"), {space.name: space for space in spaces if not isinstance(space, str)}
    names = [space if isinstance(space, str) else space.name for space in spaces]
    for space in names:
        if space not in given:
            _check_choice("--space", space, sorted({*named, "pca", "identity"}))
        if space in named and space not in given:
            overrides.append(f"+space@evaluation.spaces.{space}={space}")
    config = compose_settings([*overrides, *options.settings], is_chain=False)
    own = made("evaluation", config.evaluation)
    if own.first_encoder:
        raise UsageError("evaluation.first_encoder=true needs the VAE of a chain: set it to false")
    every = {name: space for name, space in {**own.spaces, **given}.items() if space is not None}
    chosen = {name: every[name] for name in ((PRIMARY_SPACE, *names) if names else every) if name in every}
    if stick == "" or (names and stick is None):
        chosen.pop(PRIMARY_SPACE, None)
    return config, replace(own, spaces=chosen)


def made(key: str, node: Any) -> Any:
    """The part that stands under a key, made from its settings; UsageError if a constructor refuses them."""
    settings: dict[str, Any] = {key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node}
    for path, part in parts(settings):
        check_part(path, part)
    return instantiated(OmegaConf.create(settings))[key]


@dataclass(frozen=True)
class StoredGeneration:
    """A finished generation in a run folder."""

    chain: Chain
    record: GenerationRecord

    @property
    def name(self) -> str:
        return f"{self.chain.folder.name}/generation_{self.record.generation:03d}"

    def samples(self, generation: int | None = None) -> Samples:
        """The samples that this generation, or another one of the chain, gave to the next pool."""
        number = self.record.generation if generation is None else generation
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
        source, seed, generation = self.source, self.record.seed, self.record.generation
        shape, num_classes, factors = source.sample_shape, source.num_classes, source.factors
        cause, plan, regime = (self._made(key) for key in ("cause", "training", "regime"))
        causes = checked_causes(cause, sample_shape=shape, num_classes=num_classes, factors=factors)
        real = plant_all(causes, clean, seed=seed)
        num_held_out = plan.num_validation(len(real.train)) if plan.holds_out_real else 0
        real, _ = real.hold_out(num_held_out, seed=seed)
        pool = pool_of(generation, real=real, regime=regime, seed=seed, stored=self.samples)
        return pool.draw(num_samples, generator=make_generator(seed, generation, "novelty"))

    def _made(self, key: str, **changes: Any) -> Any:
        settings = deepcopy(self.chain.config.get(key) or {}) | changes
        for _, part in parts({key: settings}):
            cast("dict[str, Any]", part)["_target_"] = known_path(str(part["_target_"]))
        return made(key, settings)


def stored_generations(given: Any, *, has_all: bool) -> list[StoredGeneration]:
    """The last or all generations of a run folder, or that of a generation's folder; none for anything else."""
    if not isinstance(given, str | Path):
        return []
    path = Path(given).expanduser()
    own = re.fullmatch(r"generation_(\d+)", path.resolve().name)
    folder = path.resolve().parent if own else path
    if not path.is_dir() or not (folder / "config.yaml").is_file():
        return []
    chain = read_chains([folder])[0]
    if not chain.records:
        raise UsageError(f"{path} holds no finished generation: the command that made the chain continues it")
    found = [StoredGeneration(chain, record) for record in chain.records]
    if own is None:
        return found if has_all else found[-1:]
    if chosen := [each for each in found if each.record.generation == int(own[1])]:
        return chosen
    raise UsageError(f"{path} is not finished: it has no record in {folder / 'records.jsonl'}")


def known_path(target: str) -> str:
    """The present path of a class that `conf` names; others are refused."""
    files = sorted(config_folder().rglob("*.yaml"))
    paths = [path for file in files for path in re.findall(r"_target_: (collapsar\.[\w.]+)", file.read_text("utf-8"))]
    known = {path.rpartition(".")[2]: path for path in paths}
    name = target.rpartition(".")[2]
    if not target.startswith("collapsar.") or name not in known:
        problem = f"the chain uses {target}, which does not come with this package"
        raise UsageError(f"{problem}: give REAL as a folder or a file")
    return known[name]
