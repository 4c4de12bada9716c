"""The command line on its way into Hydra: put options first, quote text settings, accept every argument, cut size=tiny.

Hydra reads `name=2024_01_15` as the number 20240115, and refuses accents, `=` and brackets without quotes. Hydra also
refuses a key without `+` that no file contains, but a user's YAML may list no more than its `_target_`.
"""

import re
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, Quote, QuotedString, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from collapsar.config.constructors import ANY, options_of
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import config_folder, flatten

TEXT_SETTINGS = (
    *("name", "evaluation.cache_folder", "evaluation.table.task.subgroup"),
    *("data.root", "data.path", "data.target", "data.identifiers", "data.missing"),
    *("data.separator", "data.decimal", "data.thousands", "data.encoding"),
    *("tracking.project", "tracking.entity", "tracking.tags"),
    *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"),
    *("hydra.sweeper.setting", "hydra.sweeper.storage", "hydra.sweeper.study_name"),
)
LISTS_OF_TEXTS = ("tracking.tags", "data.identifiers", "data.missing")
UNREADABLE = object()
TINY = "tiny"
OWN_FILES = "path"  # data with this key are the user's, of an unknown number of samples
PART = re.compile(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,'"])+""")  # one part between commas outside quotes


def readable_by_hydra(arguments: Sequence[str]) -> list[str]:
    """The arguments with options first, and with quotes around text settings that Hydra would change."""
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        known, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise UsageError(f"{error}; collapsar --hydra-help lists the options") from error
    if unknown:
        raise UsageError(f"there is no option {unknown[0]}; collapsar --hydra-help lists the options")
    overrides: list[str] = known.overrides
    if known.shell_completion or known.experimental_rerun:
        return list(arguments)
    may_sweep = known.multirun or any(override.startswith(("experiment=", "hydra.mode=")) for override in overrides)
    typed = [as_typed(override, may_sweep=may_sweep) for override in overrides]
    if known.multirun:
        refuse_dropped_sweeps(typed, folders=[config_folder(), Path(known.config_dir or config_folder())])
    return [*(argument for argument in arguments if argument not in overrides), *typed]


def as_typed(override: str, *, may_sweep: bool) -> str:
    """The override, with quotes if Hydra would change its text setting; refuses one that Hydra cannot read."""
    key, equal, value = override.partition("=")
    setting = key.lstrip("+")
    if not setting or (not equal and not key.startswith("~")):
        raise UsageError(f"cannot read {override}: an override is KEY=VALUE")
    if setting in TEXT_SETTINGS:
        override = f"{key}={_quoted(value, is_list=setting in LISTS_OF_TEXTS, may_sweep=may_sweep)}"
    try:
        parse(override)
    except HydraException as error:
        signs, quoted = "accents or one of , = ( ) [ ] { }", f"quotes that reach the command, as in '{key}=\"VALUE\"'"
        raise UsageError(f"cannot read {override}: {error}; a value with {signs} needs {quoted}") from error
    return override


def _quoted(value: str, *, is_list: bool, may_sweep: bool) -> str:
    """The value, with quotes if Hydra would read something other than this text; in lists and sweeps, part by part."""
    parsed: Any = UNREADABLE
    with suppress(HydraException):
        parsed = parse(f"key={value}")._value
    if parsed is None or isinstance(parsed, str | QuotedString):
        return value
    if is_list and value.startswith("[") and value.endswith("]") and not isinstance(parsed, Sweep):
        return f"[{','.join(_quoted(part, is_list=False, may_sweep=False) for part in _split(value[1:-1]))}]"
    parts = _split(value)
    if may_sweep and len(parts) > 1 and (parsed is UNREADABLE or len(getattr(parsed, "list", [])) == len(parts)):
        return ",".join(_quoted(part, is_list=is_list, may_sweep=False) for part in parts)
    is_unclear = may_sweep and (isinstance(parsed, Sweep | Glob) or (parsed is UNREADABLE and "," in value))
    if is_list or is_unclear:
        return value
    return QuotedString(text=value.strip(), quote=Quote.single).with_quotes()


def _split(text: str) -> list[str]:
    """The parts between commas outside quotes; the whole text as one part if a quote is left open."""
    parts: list[str] = PART.findall(text)
    return [part.strip() for part in parts] if ",".join(parts) == text else [text]


def parse(override: str) -> Override:
    """Parse one override as Hydra does; raises HydraException if it cannot be read."""
    return OverridesParser.create().parse_override(override)


def refuse_dropped_sweeps(overrides: Sequence[str], *, folders: Sequence[Path]) -> None:
    """Refuse a sweep over experiments if one of them says what is swept or how: Hydra would ignore these settings."""
    for parsed in map(parse, overrides):
        if parsed.key_or_group != "experiment" or not parsed.is_sweep_override():
            continue
        files = {path.stem: path for folder in folders for path in sorted((folder / "experiment").glob("*.yaml"))}
        names = parsed._value.filter(list(files)) if isinstance(parsed._value, Glob) else parsed.sweep_string_iterator()
        for name in names:
            content = yaml.safe_load(files[name].read_text()) if name in files else {}
            if "hydra" in content or "hydra/" in str(content.get("defaults")):
                problem = f"{name} says itself what is swept, which several experiments at once would drop"
                advice = f"run them one after another, as in collapsar experiment={name}"
                raise UsageError(f"experiment={parsed.get_value_string()}: {problem}: {advice}")


_apply_to_config = ConfigLoaderImpl._apply_overrides_to_config


def apply_overrides(overrides: list[Override], config: DictConfig) -> None:
    """One override after the other: one may add the part that the next one sets. They come after size=tiny's cuts."""
    if is_tiny(config):
        cut(config)
    for override in overrides:
        if override.type == OverrideType.CHANGE and _is_option(config, override.key_or_group):
            override.type = OverrideType.ADD
        _apply_to_config([override], config)


def is_tiny(config: DictConfig) -> bool:
    """Whether a composed config has size=tiny."""
    return "size" in config and not OmegaConf.is_missing(config, "size") and config["size"] == TINY


def cut(config: DictConfig) -> None:
    """Lower the numbers of a composed config that `conf/tiny.yaml` names; a number that is null counts as larger."""
    limits = yaml.safe_load((config_folder() / f"{TINY}.yaml").read_text())
    if OWN_FILES in (config["data"] or {}):
        del limits["data.num_train"], limits["evaluation.num_samples"]
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    for key, value in flatten(plain).items():
        for end, limit in limits.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if f".{key}".endswith(f".{end}") and (value is None or (is_number and value > limit)):
                OmegaConf.update(config, key, limit)


def _is_option(config: DictConfig, key: str) -> bool:
    """Whether a dotted key is absent, but an argument of the part that it would belong to."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return False
        if name not in node:
            return "_target_" in node and bool(options_of(str(node["_target_"])) & {name, ANY})
        node = node._get_node(name)
    return False
