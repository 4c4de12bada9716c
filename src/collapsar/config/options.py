"""Let an override without `+` set any argument of a part's constructor, even if the part's YAML does not list it.

Hydra refuses a key that no file contains, but a user's YAML may list no more than its `_target_`. The arguments are
read from the source, without importing it, so that a mistyped key is refused at once. If the source does not show
them, as for a class imported from elsewhere, the class itself is imported.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from hydra.utils import get_method
from omegaconf import DictConfig

from collapsar.config.constructors import named, parameters_of

NO_OPTIONS = ("abc.ABC", "typing.Protocol", "torch.nn.Module")
ANY = "**"  # stands for all names, if a constructor takes `**kwargs`

_apply_to_config = ConfigLoaderImpl._apply_overrides_to_config


def accept_options_of_constructors() -> None:
    """Let Hydra accept overrides of constructor arguments; a second call changes nothing."""
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply_overrides)  # type: ignore[assignment, method-assign]


def apply_overrides(overrides: list[Override], config: DictConfig) -> None:
    """Hydra's own step, but with one override after the other: one may add the part that the next one sets."""
    for override in overrides:
        if override.type == OverrideType.CHANGE and is_option(config, override.key_or_group):
            override.type = OverrideType.ADD
        _apply_to_config([override], config)


def is_option(config: DictConfig, key: str) -> bool:
    """Whether a dotted key is absent, but an argument of the part that it would belong to."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return False
        if name not in node:
            return "_target_" in node and bool(options_of(str(node["_target_"])) & {name, ANY})
        node = node._get_node(name)
    return False


@cache
def options_of(target: str) -> frozenset[str]:
    """The names of a `_target_`'s arguments, with `ANY` if it takes `**kwargs`; empty if there is no such target."""
    try:
        found = options_in_source(target)
        if found is None:
            parameters = parameters_of(get_method(target)) or {}
            found = {*named(parameters), *(ANY for each in parameters.values() if each.kind == each.VAR_KEYWORD)}
    except Exception:  # the user's module may raise anything; find_target refuses the target later, in words
        return frozenset()
    return frozenset(found)


def options_in_source(target: str) -> set[str] | None:
    """The same from the source of a function, or of a class and its bases; None if the source does not show it.

    A class is assumed to pass its `**kwargs` on to its bases.
    """
    module, _, name = target.rpartition(".")
    tree = _tree(module)
    definitions = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef | ast.FunctionDef)}
    definition = definitions.get(name)
    if isinstance(definition, ast.FunctionDef):
        return set(_arguments(definition))
    if definition is None:
        return None
    made_by = [each for each in definition.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    own = set(_arguments(made_by[0])) - {made_by[0].args.args[0].arg} if made_by else {ANY, *_fields(definition)}
    bases = [_base_path(base, module=module, tree=tree) for base in definition.bases]
    if ANY not in own or (made_by and not bases):
        return own
    of_bases = [set() if base in NO_OPTIONS else base and options_in_source(base) for base in bases]
    return None if None in of_bases else (own - {ANY}).union(*filter(None, of_bases))


def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _arguments(function: ast.FunctionDef) -> Iterator[str]:
    arguments = function.args
    yield from (each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
    if arguments.kwarg:
        yield ANY


def _fields(definition: ast.ClassDef) -> Iterator[str]:
    """The fields of a dataclass; none for any other class."""
    if not any("dataclass" in ast.unparse(decorator) for decorator in definition.decorator_list):
        return
    for each in definition.body:
        match each:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind) if not ast.unparse(kind).startswith(
                "ClassVar"
            ):
                yield name


def _base_path(base: ast.expr, *, module: str, tree: ast.Module) -> str | None:
    """The dotted path of a base class; None if it is not a plain name."""
    if not isinstance(base, ast.Name):
        return None
    for each in tree.body:
        if isinstance(each, ast.ImportFrom) and not each.level:
            for alias in each.names:
                if (alias.asname or alias.name) == base.id:
                    return f"{each.module}.{alias.name}"
    return f"{module}.{base.id}"
