"""From Python: settings that become overrides, models by recipe, and chains, all made as the commands make them."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import hydra
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from collapsar.config import composition
from collapsar.config.choices import check_levers, composed_levers
from collapsar.config.command_line import as_typed, parse, readable_by_hydra
from collapsar.config.constructors import check_arguments, instantiated
from collapsar.config.experiment import Experiment
from collapsar.foundations.errors import UsageError
from collapsar.foundations.recipes import flattened
from collapsar.foundations.settings import CONFIG, config_folder, flatten
from collapsar.jobs import failures, multirun
from collapsar.jobs.failures import is_expected, one_line
from collapsar.jobs.job import run_job, sum_up_dry_run
from collapsar.machine.choice import AUTO
from collapsar.machine.signals import Stopped
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import check_own_fit
from collapsar.study.study import read_study
from collapsar.training.hardware import choose_precision
from collapsar.training.trainer import FULL_PRECISION, check_trainer


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
        return repr(value.tolist() if hasattr(value, "tolist") else value)  # numpy's numbers and torch's
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
    composition.load_plugins(known["plugins"])
    experiment: Experiment = instantiated(cast("DictConfig", OmegaConf.merge(OmegaConf.structured(Experiment), known)))
    return experiment


@dataclass(frozen=True, kw_only=True)
class MadeModel:
    """A model of a recipe, and how the recipe trains it; unpacks into `model, trainer_arguments`."""

    model: LearnedModel  # fresh, with the recipe's plan of training
    trainer_arguments: dict[str, Any]  # of `lightning.Trainer`
    batch_size: int  # samples in a step

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.trainer_arguments))


def make_model(model: str, *, data: str = "digits", size: str = "small", **overrides: Any) -> MadeModel:
    """A model as the recipe of `conf/recipe` makes it for a data set, and the arguments of its Trainer.

    Model and data are named as in conf/model and conf/data; the size of the recipe is small for two CPU cores, or full
    for a GPU. Overrides are arguments of the model (`width=64`), or settings of a chain (`lever=["cosine"]`,
    `trainer={"max_steps": 100}`). Initial weights come from torch's own generator, so `lightning.seed_everything`
    repeats them. UsageError as the command would refuse it, or for a setting that only a chain carries out.
    """
    chosen = as_overrides({"model": model, "data": data, "size": size})
    config = compose_settings([*chosen, *as_overrides(overrides, others_below="model")])
    with mistakes_named():
        recipe = instantiated(config).parts.recipe
        check_own_fit(recipe.plan, precision=FULL_PRECISION, num_steps=0, is_validated=True)
        made = recipe.model()
        if not isinstance(made, LearnedModel):
            raise UsageError(f"model={model} is fitted by a formula, without a Trainer: choose vae, gan or flow")
        arguments = dict(flattened(recipe.trainer).keywords)
        if arguments.get("precision") == AUTO:
            device = check_trainer(recipe.trainer).strategy.root_device.type
            arguments["precision"] = choose_precision(recipe.trainer, device=device)
    made.plan = recipe.plan
    return MadeModel(model=made, trainer_arguments=arguments, batch_size=recipe.batch_size)


FULL_ERRORS = "HYDRA_FULL_ERROR"


def run(overrides: Sequence[str] = (), *, is_multirun: bool = False, **settings: Any) -> pd.DataFrame:
    """Run one chain, or all chains of a multirun, as the command `collapsar` does; what was stopped is continued.

    Overrides stand as on the command line, such as `["data=mnist", "lever=[ema]"]`, with options, such as
    `--config-dir`, among them; or as keyword arguments, where mappings stand for dotted keys: `run(model={"width": 8},
    seed=1)`. With `is_multirun` commas sweep, as with the option `-m`: `run(["seed=0,1"], is_multirun=True)`.

    Returns:
        One row for each generation of each chain, in the order of the jobs: arm, chain, seed, data, model, regime,
        generation, and each metric that was recorded. Its `attrs` hold the `folder` of the chain, or of the study, and
        the `failures`: lines about the chains that broke down, which are also a warning.

    Raises:
        UsageError: the command would end with exit code 2, or no chain has a record.
        KeyboardInterrupt: Ctrl-C; the same call continues.
    """
    check_arguments(run, {"overrides": overrides, "is_multirun": is_multirun})
    options = ["-m"] if is_multirun else []
    typed = [*options, *overrides, *as_overrides(settings, may_sweep=is_multirun)]
    conf = composition.register()
    with own_hydra(), command_of_its_own(), mistakes_named():
        sys.argv = ["collapsar", *readable_by_hydra(typed)]
        try:
            hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(run_job)()
        except Stopped as stop:
            if stop.code == 130:
                raise KeyboardInterrupt from stop
            raise
        sum_up_dry_run(Path("outputs"))
        failed, folders = failures.failed_jobs.copy(), list(dict.fromkeys(multirun.run_folders))
        lines = [line.removeprefix("collapsar: ") for line in failures.lines(failed, num_jobs=len(folders))]
    begun = [folder for folder in folders if (folder / CONFIG).is_file()]
    table = read_study(begun).records if begun else pd.DataFrame()
    if failed and (table.empty or any(job.exit_code == failures.USAGE_EXIT_CODE for job in failed)):
        raise UsageError("\n".join(lines))
    if failed:
        warnings.warn("\n".join(lines), stacklevel=2)
    common = Path(os.path.commonpath(folders)) if folders else Path()
    table.attrs |= {"folder": str(common), "failures": lines}
    return table


@contextmanager
def command_of_its_own() -> Iterator[None]:
    """Within this context, a fresh command; afterwards, the logging, arguments and environment of the caller."""
    root, arguments = logging.getLogger(), sys.argv
    handlers, level = root.handlers[:], root.level
    kept = {name: os.environ.get(name) for name in (FULL_ERRORS, multirun.NUM_JOBS_VARIABLE, multirun.LENGTHS_VARIABLE)}
    os.environ[FULL_ERRORS] = "1"  # else Hydra prints a traceback and exits
    failures.failed_jobs.clear()
    multirun.run_folders.clear()
    try:
        yield
    finally:
        sys.argv, root.handlers[:] = arguments, handlers
        root.setLevel(level)
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
