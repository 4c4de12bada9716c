"""How Hydra composes an experiment: where `conf` lies, the schema, names of chains, and checks before anything runs.

A part's schema is its constructor: every key under a `_target_` must be one of its arguments and have its type.
"""

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from rich.console import Console

from collapsar.errors import UsageError
from collapsar.experiment import Experiment
from collapsar.report.page import write_report
from collapsar.report.tables import comparison_table
from collapsar.settings import flatten, is_free

logger = logging.getLogger(__name__)

NAMED_GROUPS = ("data", "model", "regime")
PLAIN_WIDTH = 120
NUM_JOBS_VARIABLE = "COLLAPSAR_NUM_JOBS"  # tells the jobs of a multirun, in whatever process, how many they are
HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def config_folder() -> Path:
    """`conf`: inside an installed wheel, or at the top of a checkout."""
    installed = Path(str(files("collapsar"))) / "conf"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def register() -> None:
    """Make the schema and the resolvers known to Hydra; a second call changes nothing."""
    ConfigStore.instance().store(name="experiment_schema", node=Experiment)
    OmegaConf.register_new_resolver("chain_name", chain_name, replace=True)


def chain_name(*, _root_: DictConfig) -> str:
    """A name that the same settings always get: data, model, regime, seed, and a digest of everything else."""
    config = settings(_root_)
    binding = {key: value for key, value in flatten(config).items() if not is_free(key)}
    digest = blake2b(yaml.safe_dump(binding).encode(), digest_size=4).hexdigest()
    choices = OmegaConf.select(_root_, "hydra.runtime.choices") or {}
    groups = "_".join(str(choices.get(group, "custom")) for group in NAMED_GROUPS)
    return f"{groups}_seed{config['seed']}_{digest}"


def settings(config: DictConfig) -> dict[str, Any]:
    """The resolved experiment settings as plain values, without Hydra's own."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_readonly(own, False)
    plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def build(config: DictConfig) -> Experiment:
    """The live experiment, having checked every part against its constructor.

    Raises:
        UsageError: a key or a type that a constructor does not take, or a value that it refuses.
    """
    known = [entry.name for entry in fields(Experiment)]
    for key in config:
        if key not in (*known, "hydra"):
            raise UsageError(f"{key!s} is not an option: allowed are {', '.join(known)}")
    for path, node in parts(config):
        check_part(path, node)
    try:
        experiment: Experiment = instantiate(config, _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        raise
    return experiment


def parts(node: Any, *, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every node below the root that has a `_target_`, with its dotted path."""
    if isinstance(node, DictConfig):
        if path and "_target_" in node:
            yield path, node
        for key in node:
            yield from parts(node._get_node(key), path=f"{path}.{key!s}" if path else str(key))
    elif isinstance(node, ListConfig):
        for index in range(len(node)):
            yield from parts(node._get_node(index), path=f"{path}[{index}]")


def check_part(path: str, node: DictConfig) -> None:
    """Refuse what the constructor named by `_target_` would not take.

    Raises:
        UsageError: unknown target or key, missing key, or wrong type.
    """
    target = find_target(path, str(node["_target_"]))
    parameters = inspect.signature(target).parameters
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    given = {str(key): value for key, value in values.items() if key not in HYDRA_KEYS}
    for key, value in given.items():
        if key not in parameters:
            raise UsageError(f"{path}.{key} is not an option: {path} takes {', '.join(parameters)}")
        check_type(f"{path}.{key}", value, annotation=annotations(target).get(key, Any))
    missing = [
        key for key, parameter in parameters.items() if parameter.default is parameter.empty and key not in given
    ]
    if missing:
        raise UsageError(f"{path} needs {', '.join(missing)}: set {path}.{missing[0]}=VALUE")


def find_target(path: str, name: str) -> Callable[..., Any]:
    """What a `_target_` names.

    Raises:
        UsageError: there is no such class or function.
    """
    try:
        return get_method(name)
    except Exception as error:
        raise UsageError(f"{path}._target_ names nothing that can be called: {name!r}") from error


def annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotated types of a constructor's arguments; those that cannot be resolved are not checked."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):
        return {}


def check_type(key: str, value: Any, *, annotation: Any) -> None:
    """Refuse a value that is not of the annotated type; nodes that will be instantiated are checked on their own.

    Raises:
        UsageError: with the value and the type that is wanted.
    """
    if isinstance(value, dict):
        return
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return
    try:
        adapter.validate_python(value, strict=isinstance(value, str))
    except ValidationError as error:
        wanted = error.errors()[0]["msg"]
        raise UsageError(f"{key} has a wrong value: got {value!r}; {wanted[0].lower()}{wanted[1:]}") from error


class StudySummary(Callback):
    """A multirun: how many jobs it has, and at its end one table and one page over all its chains."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this once, before the first job."""
        os.environ[NUM_JOBS_VARIABLE] = str(count_jobs(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this once, when the last job is done."""
        folder = Path(config.hydra.sweep.dir)
        if any(folder.glob("*/records.jsonl")):
            present([folder], page=folder / "report.html")


def count_jobs(config: DictConfig) -> int:
    """The jobs of a multirun; 0 where its sweeper decides as it goes on."""
    if not config.hydra.sweeper._target_.endswith("BasicSweeper"):
        return 0
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    batches = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides([*params, *config.hydra.overrides.task]), max_batch_size=None
    )
    return sum(map(len, batches))


def position(hydra_config: Any) -> str:
    """Which job of a multirun this is, in words; empty for a single chain."""
    if hydra_config.mode != RunMode.MULTIRUN:
        return ""
    number, num_jobs = int(hydra_config.job.num) + 1, int(os.environ.get(NUM_JOBS_VARIABLE, "0"))
    return f"job {number} of {num_jobs}, {num_jobs - number} left" if num_jobs else f"job {number}"


def present(folders: list[Path], *, page: Path) -> None:
    """Print the table of some chains and write their page."""
    make_console().print(comparison_table(folders))
    logger.info("page: %s", write_report(folders, page))


def make_console() -> Console:
    """Where progress and tables are drawn; wide enough for a table where there is no terminal to ask."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=PLAIN_WIDTH)
