"""What a constructor takes, read from its source: importing it would import torch, which takes seconds.

Names, types and plain range checks are enough to refuse most mistakes at once. The constructor itself checks what
cannot be read here.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal, Optional, Union

from collapsar import errors

PLAIN_TYPES = {
    **{plain.__name__: plain for plain in (int, float, str, bool, list, dict, tuple, Sequence, Mapping)},
    "Any": Any,
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
}
CHECKED_PACKAGES = ("collapsar", "lightning")
RANGES = ("check_positive", "check_not_negative", "check_fraction")
NO_ARGUMENTS = ("abc.ABC", "typing.Protocol", "torch.nn.Module")  # bases that add none


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The arguments of a constructor.

    Attributes:
        parameters: The arguments by name.
        types: Types by name, if the annotation needs no import.
        ranges: The range checks that it always makes, each with the names of the arguments that it checks.
        is_dataclass: Whether it is made by `dataclass`.
        is_assumed: Whether its `**kwargs` are assumed to go to its bases.
    """

    parameters: Mapping[str, Parameter]
    types: Mapping[str, Any]
    ranges: Sequence[tuple[Callable[..., None], Sequence[str]]] = ()
    is_dataclass: bool = False
    is_assumed: bool = False


NOTHING = Signature(parameters={}, types={})


def read_signature(target: str) -> Signature | None:
    """The signature of a class of ours or of Lightning's, by its full name; None if it cannot be read exactly."""
    found = read_source(target) if target.partition(".")[0] in CHECKED_PACKAGES else None
    return found if found and not found.is_assumed else None


@cache
def read_source(target: str) -> Signature | None:
    """The signature of any function or class, by its full name; None if its source does not show it."""
    if target in NO_ARGUMENTS:
        return NOTHING
    module, _, name = target.rpartition(".")
    for node in tree_of(module):
        match node:
            case ast.FunctionDef(name=found) if found == name:
                return signature_of(module, parameters_in(node.args), checks=node)
            case ast.ClassDef(name=found) if found == name:
                return signature_of_class(module, node)
            case ast.ImportFrom(module=str() as origin, level=0, names=names) if there := named(names, name):
                return read_source(f"{origin}.{there}")
    return None


def signature_of_class(module: str, node: ast.ClassDef) -> Signature | None:
    """The signature of a class: of its fields if it is a dataclass, of its `__init__`, or of its first base."""
    bodies = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    made_by = bodies.get("__init__")
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = signature_of(module, fields_in(node), checks=bodies.get("__post_init__"))
        return joined(
            replace(fields, is_dataclass=True),
            [base and (base if base.is_dataclass else NOTHING) for base in bases_of(module, node)],
        )
    if made_by is None:
        return next((base for base in bases_of(module, node) if base is not NOTHING), NOTHING)
    _self, *parameters = parameters_in(made_by.args).values()
    passed_on = [each.name for each in parameters if each.kind is Parameter.VAR_KEYWORD and node.bases]
    own = signature_of(module, {each.name: each for each in parameters if each.name not in passed_on}, checks=made_by)
    return joined(replace(own, is_assumed=True), bases_of(module, node)) if passed_on else own


def bases_of(module: str, node: ast.ClassDef) -> list[Signature | None]:
    """The signatures of the bases of a class; None for a base that cannot be read."""
    return [read_source(f"{module}.{base.id}") if isinstance(base, ast.Name) else None for base in node.bases]


def joined(own: Signature, bases: Sequence[Signature | None]) -> Signature | None:
    """A signature with the arguments of its bases; None if one of them cannot be read."""
    for base in bases:
        if base is None:
            return None
        own = replace(own, parameters={**base.parameters, **own.parameters}, types={**base.types, **own.types})
    return own


def signature_of(module: str, parameters: Mapping[str, Parameter], *, checks: ast.FunctionDef | None) -> Signature:
    """The signature with these parameters, whose annotations are expressions of a module."""
    types = {name: type_of(module, parameter.annotation) for name, parameter in parameters.items()}
    return Signature(
        parameters=parameters,
        types={name: known for name, known in types.items() if known is not None},
        ranges=ranges_in(checks, names=set(parameters)) if checks else (),
    )


def parameters_in(arguments: ast.arguments) -> dict[str, Parameter]:
    """The parameters of a function; annotations are expressions, and None stands for any default."""
    plain, by_name = [*arguments.posonlyargs, *arguments.args], arguments.kwonlyargs
    defaults = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
    found = [
        *((Parameter.POSITIONAL_OR_KEYWORD, *each) for each in zip(plain, defaults, strict=True)),
        (Parameter.VAR_POSITIONAL, arguments.vararg, None),
        *((Parameter.KEYWORD_ONLY, *each) for each in zip(by_name, arguments.kw_defaults, strict=True)),
        (Parameter.VAR_KEYWORD, arguments.kwarg, None),
    ]
    return {each.arg: parameter(each.arg, kind, each.annotation, default) for kind, each, default in found if each}


def fields_in(node: ast.ClassDef) -> dict[str, Parameter]:
    """The parameters that the fields of a dataclass become."""
    return {
        each.target.id: parameter(each.target.id, Parameter.KEYWORD_ONLY, each.annotation, each.value)
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        if "ClassVar" not in ast.unparse(each.annotation)
    }


def parameter(name: str, kind: Any, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    """A parameter whose default is None, whatever it is, or that has no default."""
    return Parameter(name, kind, annotation=annotation, default=None if default else Parameter.empty)


def ranges_in(body: ast.FunctionDef, *, names: set[str]) -> list[tuple[Callable[..., None], Sequence[str]]]:
    """The range checks that a constructor always makes, of its arguments as given."""
    calls = (line.value for line in body.body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call))
    return [
        (
            getattr(errors, call.func.id),
            [each.arg for each in call.keywords if each.arg in names and is_argument(each.value, each.arg)],
        )
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in RANGES
    ]


def is_argument(value: ast.expr, name: str) -> bool:
    """Whether an expression is this argument: `name`, or `self.name`."""
    return ast.unparse(value) in (name, f"self.{name}")


def type_of(module: str, annotation: ast.expr | None) -> Any:
    """The type that an annotation names; None if it needs an import beyond plain types."""
    if annotation is None:
        return None
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    found = {name: PLAIN_TYPES.get(name) or alias(module, name) for name in names}
    if None in found.values():
        return None
    return eval(compile(ast.Expression(annotation), module, "eval"), {"__builtins__": {}}, found)


@cache
def alias(module: str, name: str) -> Any:
    """The type alias of this name in a module, or in the module it is imported from; None if there is none."""
    for node in tree_of(module):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)) if (
                target == name
            ):
                value = node.value
                return type_of(module, value) if isinstance(value, ast.Subscript | ast.BinOp) else None
            case ast.ImportFrom(module=str() as origin, level=0, names=names) if there := named(names, name):
                return alias(origin, there)
    return None


def named(names: Sequence[ast.alias], name: str) -> str | None:
    """The name that an imported name has in its own module; None if it is not imported."""
    return next((each.name for each in names if (each.asname or each.name) == name), None)


@cache
def tree_of(module: str) -> list[ast.stmt]:
    """The statements of a module, found without importing its package; empty if it has no source."""
    package, *rest = module.split(".")
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin).parent.joinpath(*rest) if spec.submodule_search_locations else Path(spec.origin)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else []
