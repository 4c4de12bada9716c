"""Settings from Python: keyword arguments become overrides, and Hydra composes them as for the command."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from collapsar.config import composition
from collapsar.config.choices import check_levers, composed_levers
from collapsar.config.command_line import as_typed, parse
from collapsar.config.experiment import Experiment
from collapsar.errors import UsageError
from collapsar.jobs.failures import is_expected, one_line
from collapsar.records.settings import config_folder, flatten


def as_overrides(settings: Mapping[str, Any], *, others_below: str = "", may_sweep: bool = False) -> list[str]:
    """Overrides from keyword arguments; nested mappings become dotted keys, and text is quoted where Hydra needs it.

    A key that is no setting of an experiment belongs to the part `others_below`; text with commas may be a sweep.
    """
    known = {entry.name for entry in fields(Experiment)} | {"hydra", "lever", "experiment"}
    found = []
    for key, value in flatten(settings).items():
        is_known = not others_below or key.partition(".")[0].partition("/")[0] in known
        found.append(f"{key if is_known else f'{others_below}.{key}'}={_typed(value, may_sweep=may_sweep)}")
    return found


def _typed(value: Any, *, may_sweep: bool = False) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_typed(inner)}' for key, inner in value.items())}}}"
    if not isinstance(value, str | Path):
        return repr(value.item() if hasattr(value, "item") else value)  # numpy's numbers and torch's
    text = str(value)
    try:
        is_plain = (parsed := parse(f"key={text}")).value() == text or (may_sweep and parsed.is_sweep_override())
    except HydraException:
        is_plain = False
    return text if is_plain else QuotedString(text=text, quote=Quote.single).with_quotes()


def compose_settings(overrides: Sequence[str], *, is_chain: bool = True) -> DictConfig:
    """The composed settings, checked as those of one chain if `is_chain`, and refused as the command would."""
    composition.register()
    with own_hydra(), mistakes_named():
        typed = [as_typed(override, may_sweep=False) for override in overrides]
        with initialize_config_dir(str(config_folder()), version_base="1.3", job_name="collapsar"):
            config = compose("config", typed, return_hydra_config=True)
            if is_chain:
                check_levers(composed_levers("config", typed))
                composition.check(config)
        OmegaConf.set_readonly(config, False)
        OmegaConf.set_struct(config, False)
        config.pop("hydra")
        return config


@contextmanager
def own_hydra() -> Iterator[None]:
    """A Hydra of our own within this context, whatever application of Hydra calls us."""
    of_caller, settings_of_caller = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = of_caller, settings_of_caller


@contextmanager
def mistakes_named() -> Iterator[None]:
    """Raise what a command would report in one line as a UsageError with this line; Lightning informs of nothing."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    try:
        logger.setLevel(logging.WARNING)
        yield
    except Exception as error:
        if isinstance(error, UsageError) or not is_expected(error):
            raise
        raise UsageError(one_line(error)) from error
    finally:
        logger.setLevel(level)


def experiment_of(settings: Mapping[str, Any]) -> Experiment:
    """The live experiment of the settings that a run folder holds."""
    composition.register()
    names = [entry.name for entry in fields(Experiment)]
    known = {key: value for key, value in settings.items() if key in names}
    return composition.make(cast("DictConfig", OmegaConf.merge(OmegaConf.structured(Experiment), known)))
