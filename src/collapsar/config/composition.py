"""How Hydra composes an experiment: the schema, names of folders and chains, and checks before anything runs.

Torch is not imported before constructors are checked, so help, completion and refused choices are fast.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from hashlib import file_digest
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from collapsar.config.choices import all_choices, check_choices, check_size, naming_choices, part_names
from collapsar.config.command_line import TINY, is_tiny
from collapsar.config.constructors import check_part, instantiated
from collapsar.config.experiment import Experiment, check_numbers, check_study_name, parts
from collapsar.config.loader import take_the_place_of_hydras
from collapsar.foundations.chosen import Chosen, arm_name, chosen_in, in_folder_name, told_apart
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import arm_settings, binding_settings, config_folder, digest, recipe_by_side
from collapsar.journal.objective import check_objective
from collapsar.study.analysis import check_extend, read_analysis

RUNS = "*_seed*_*"  # run folders, by their names
_given: dict[tuple[Path, str], str] = {}  # names of chains whose folders may not exist yet, by study and digest


def register() -> Path:
    """Register the schema, the resolvers and the options of parts with Hydra, if need be; returns `conf`."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a `_target_` may name a module here; installed modules come first
    take_the_place_of_hydras()
    ConfigStore.instance().store(name="experiment_schema", node=Experiment)
    for resolver in (study_folder, chain_name, file_checksum, own_images, classes_of_data, recipe_by_side):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    return config_folder()


def file_checksum(path: str | None) -> str | None:
    """Sixteen hexadecimal digits of a file's content; None if there is no file, which is refused later."""
    file = Path(path).expanduser() if path else None
    if file is None or not file.is_file():
        return None
    with file.open("rb") as content:
        return file_digest(content, "blake2b").hexdigest()[:16]


def own_images(fact: str, path: str | None, image_size: Any, channels: Any, skip_broken: bool) -> Any:
    """The shape, the checksum or the number of classes (None for none) of the images at a path."""
    from collapsar.data.sources.images import read_images

    found = read_images(path, image_size=image_size, channels=channels, skip_broken=skip_broken)
    shape, num_classes = list(found.images.shape[1:]), len(found.class_names) or None
    return {"shape": shape, "checksum": found.checksum, "classes": num_classes}[fact]


def classes_of_data(*, _root_: DictConfig) -> int:
    """The number of classes that data of one's own have; else 10, which is refused for data of another number."""
    return int(_root_.data.get("num_classes") or 10)


def study_folder(*, _root_: DictConfig) -> str:
    """The folder of a study in `outputs`: its name, checked before Hydra makes the folder; size=tiny has its own."""
    check_study_name(_root_.name)
    return f"{_root_.name}_{TINY}" if is_tiny(_root_) else str(_root_.name)


def chain_name(study: str | None = None, *, _root_: DictConfig) -> str:
    """The name of a chain: data, model, regime, what else names its arm, seed, and a digest of all that bind it.

    The digest alone decides: if the folder of the study has a run folder with it, that one's name is given.
    """
    config, names = settings(_root_), part_names(_root_)
    start, end = "_".join(names).replace("/", "_"), f"_seed{config['seed']}_{digest(binding_settings(config))}"
    found = sorted(path.name for path in Path(study).glob(f"*{end}")) if study else []
    if found:
        return min(found, key=lambda name: not name.startswith(start))
    chosen = chosen_arm(_root_, beside=Path(study).glob(RUNS) if study else ())
    arm = in_folder_name(chosen.arm, without=names)
    name = "_".join([start, *([arm] if arm else [])]) + end
    return _given.setdefault((Path(study).resolve(), end), name) if study else name


def chosen_arm(config: DictConfig, *, beside: Iterable[Path]) -> Chosen:
    """What was chosen for a chain, with a name of its arm that no other arm in the run folders beside it has."""
    own, (*_, regime) = settings(config), part_names(config)
    name = arm_name(naming_choices(config), regime=regime)
    chosen = Chosen(arm=name, choices=all_choices(config), settings=digest(arm_settings(own)))
    return told_apart(chosen, chosen_in(beside), settings=own)


def settings(config: DictConfig) -> dict[str, Any]:
    """The resolved experiment settings as plain values, without Hydra's own; refuses a size without a recipe."""
    check_size(config)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]) if "hydra" in config else config
    plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    return dict(plain)


def build(config: DictConfig) -> Experiment:
    """The live experiment, after every setting and every part was checked against its constructor."""
    check(config)
    experiment: Experiment = instantiated(config)
    return experiment


def load_plugins(names: Sequence[str]) -> None:
    """Import a user's modules, which add metrics and sections of the page."""
    for name in names:
        try:
            import_module(name)
        except Exception as error:
            why = f"cannot be imported ({type(error).__name__}: {error}): set PYTHONPATH to its folder, or leave it out"
            raise UsageError(f"plugins names {name!r}, which {why}") from error


def check(config: DictConfig) -> None:
    """Refuse invalid settings. The parts come last, as their constructors import torch, which takes seconds."""
    known = [entry.name for entry in fields(Experiment)]
    for key in config:
        if key not in (*known, "hydra"):
            raise UsageError(f"{key!s} is not an option: allowed are {', '.join(known)}")
    load_plugins(config["plugins"])
    own = settings(config)
    check_choices(config)
    check_objective(own["objective"], own["evaluation"])
    read_analysis(own)
    check_extend(own["extend"], own["evaluation"])
    check_study_name(own["name"])
    check_numbers(own)
    for path, part in parts(own):
        check_part(path, part)
