"""The data set and the evaluation that a score uses, composed from `conf` as a chain's are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from collapsar.config.composition import instantiated
from collapsar.config.constructors import check_part, parts
from collapsar.errors import UsageError, printable
from collapsar.judging.evaluation import PRIMARY_SPACE, Evaluation
from collapsar.judging.spaces.base import FeatureSpace
from collapsar.library.composing import compose_settings
from collapsar.records.settings import QUICK_LOADER, config_folder

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
