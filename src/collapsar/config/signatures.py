"""What a constructor takes, read from its source: importing it would import torch, which takes seconds.

Names, types and plain range checks are enough to refuse most mistakes at once. The imported constructor shows the rest.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal, Optional, Union, get_type_hints

from hydra.utils import get_method

from collapsar import errors

PLAIN_TYPES: dict[str, Any] = {
    **{plain.__name__: plain for plain in (int, float, str, bool, list, dict, tuple, Sequence, Mapping)},
    "Any": Any,
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
}
CHECKED_PACKAGES = ("collapsar", "lightning")
RANGES = ("check_positive", "check_not_negative", "check_fraction")
NO_ARGUMENTS = ("abc.ABC", "typing.Protocol", "torch.nn.Module")  # bases that add none
ANY = "**"  # stands for all names, if a constructor takes `**kwargs`


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The arguments of a constructor."""

    parameters: Mapping[str, Parameter]
    types: Mapping[str, Any]  # by name, if the annotation needs no import
    ranges: Sequence[tuple[Callable[..., None], Sequence[str]]] = ()  # its range checks, each with its arguments' names
    is_assumed: bool = False  # whether its `**kwargs` are assumed to go to its bases

    def has(self, kind: Any) -> bool:
        """Whether a parameter is of this kind."""
        return any(each.kind is kind for each in self.parameters.values())

    @property
    def named(self) -> dict[str, Parameter]:
        """The parameters without `*args` and `**kwargs`."""
        collecting = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        return {name: each for name, each in self.parameters.items() if each.kind not in collecting}


NOTHING = Signature(parameters={}, types={})


@cache
def options_of(target: str) -> frozenset[str]:
    """The names of a `_target_`'s arguments, with `ANY` if it takes `**kwargs`; empty if there is no such target."""
    try:
        signature = read_source(target) or imported_signature(get_method(target)) or NOTHING
    except Exception:  # the user's module may raise anything; find_target refuses the target later, in words
        return frozenset()
    return frozenset(signature.named) | ({ANY} if signature.has(Parameter.VAR_KEYWORD) else set())


def imported_signature(target: Callable[..., Any]) -> Signature | None:
    """The signature of an imported constructor; None if Python cannot tell, as for some classes written in C.

    It has no types, so none are checked, if Python cannot resolve one of them.
    """
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:
        return None
    try:
        types = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):
        types = {}
    return Signature(parameters=parameters, types=types)


def read_signature(target: str) -> Signature | None:
    """The signature of a class of ours or of Lightning's, by its full name; None if it cannot be read exactly."""
    found = read_source(target) if target.partition(".")[0] in CHECKED_PACKAGES else None
    return found if found and not found.is_assumed else None


@cache
def read_source(target: str) -> Signature | None:
    """The signature of any function or class, by its full name; None if its source does not show it."""
    match definition(target):
        case _, ast.Pass():
            return NOTHING
        case module, ast.FunctionDef() as node:
            return _signature(module, node.args, checks=node)
        case module, ast.ClassDef() as node:
            return _signature_of_class(module, node)
    return None


def definition(target: str) -> tuple[str, ast.stmt] | None:
    """The module and the statement that define a name, found through imports; `pass` for a base without arguments."""
    module, _, name = target.rpartition(".")
    if target in NO_ARGUMENTS:
        return module, ast.Pass()
    for node in _statements(module):
        match node:
            case (
                ast.FunctionDef(name=found)
                | ast.ClassDef(name=found)
                | ast.Assign(targets=[ast.Name(id=found)])
                | ast.AnnAssign(target=ast.Name(id=found))
            ) if found == name:
                return module, node
            case ast.ImportFrom(module=str() as origin, level=0, names=names):
                for each in names:
                    if (each.asname or each.name) == name:
                        return definition(f"{origin}.{each.name}")
    return None


def _signature_of_class(module: str, node: ast.ClassDef) -> Signature | None:
    """Of its fields if it is a dataclass, of its `__init__`, or of its first base."""
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    bases = [f"{module}.{base.id}" if isinstance(base, ast.Name) else "" for base in node.bases]
    if _is_dataclass(node):
        of_fields = _signature(module, _fields(node), checks=methods.get("__post_init__"))
        return _joined(of_fields, [base for base in bases if (found := definition(base)) and _is_dataclass(found[1])])
    if "__init__" not in methods:
        return next((base for base in map(read_source, bases) if base is not NOTHING), NOTHING)
    signature = _signature(module, methods["__init__"].args, checks=methods["__init__"])
    own = dict(list(signature.parameters.items())[1:])  # without self
    kept = {name: each for name, each in own.items() if not (each.kind is Parameter.VAR_KEYWORD and bases)}
    signature = replace(signature, parameters=kept, is_assumed=len(kept) < len(own))
    return _joined(signature, bases) if signature.is_assumed else signature


def _is_dataclass(node: ast.stmt) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
    return any("dataclass" in ast.unparse(decorator) for decorator in decorators)


def _fields(node: ast.ClassDef) -> ast.arguments:
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    fields = [each for each in fields if "ClassVar" not in ast.unparse(each.annotation)]
    names = [ast.arg(ast.unparse(each.target), each.annotation) for each in fields]
    return ast.arguments([], [], kwonlyargs=names, kw_defaults=[each.value for each in fields], defaults=[])


def _joined(own: Signature, bases: Sequence[str]) -> Signature | None:
    """A signature with the arguments of its bases; None if one of them cannot be read."""
    for base in map(read_source, bases):
        if base is None:
            return None
        own = replace(own, parameters={**base.parameters, **own.parameters}, types={**base.types, **own.types})
    return own


def _signature(module: str, arguments: ast.arguments, *, checks: ast.FunctionDef | None) -> Signature:
    """The signature with these arguments, whose annotations are expressions of a module; any default becomes None."""
    arguments.defaults = [ast.Constant(None)] * len(arguments.defaults)
    arguments.kw_defaults = [default and ast.Constant(None) for default in arguments.kw_defaults]
    made: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef made({ast.unparse(arguments)}): ...", made)
    parameters = inspect.signature(made["made"]).parameters
    given = {name: each.annotation for name, each in parameters.items() if each.annotation is not Parameter.empty}
    types = {name: type_of(module, annotation) for name, annotation in given.items()}
    return Signature(
        parameters=parameters,
        types={name: known for name, known in types.items() if known is not None},
        ranges=[check for line in checks.body if (check := _range(line, names=parameters))] if checks else (),
    )


def _range(line: ast.stmt, *, names: Mapping[str, Any]) -> tuple[Callable[..., None], list[str]] | None:
    """The range check that a line of a constructor makes, and the arguments that it checks as given."""
    match line:
        case ast.Expr(value=ast.Call(func=ast.Name(id=check), keywords=keywords)) if check in RANGES:
            given = {each.arg: ast.unparse(each.value) for each in keywords if each.arg and each.arg in names}
            return getattr(errors, check), [name for name, text in given.items() if text in (name, f"self.{name}")]
    return None


@cache
def type_of(module: str, annotation: str) -> Any:
    """The type that an annotation of a module names; None if it needs an import beyond plain types and aliases."""
    known = PLAIN_TYPES.copy()
    for node in ast.walk(ast.parse(annotation)):
        if isinstance(node, ast.Name) and node.id not in known:
            match definition(f"{module}.{node.id}"):
                case origin, ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                    is_alias = isinstance(value, ast.Subscript | ast.BinOp)
                    known[node.id] = type_of(origin, ast.unparse(value)) if is_alias else None
            if known.get(node.id) is None:
                return None
    return eval(annotation, {"__builtins__": {}}, known)


@cache
def _statements(module: str) -> list[ast.stmt]:
    """The statements of a module, found without importing its package; empty if it has no source."""
    package, *rest = module.split(".")
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin).parent.joinpath(*rest) if spec.submodule_search_locations else Path(spec.origin)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else []
