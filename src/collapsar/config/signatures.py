"""Read a constructor's signature from its source: importing it would import torch, which takes seconds.

Names, types and plain range checks are enough to refuse most mistakes at once. Only our own and Lightning's classes
are read. The constructor itself checks what cannot be read here.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Optional, Union

from collapsar import errors

Parameter = inspect.Parameter
PLAIN_TYPES = {
    **{plain.__name__: plain for plain in (int, float, str, bool, list, dict, tuple, Sequence, Mapping)},
    "Any": Any,
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
}
READ_PACKAGES = ("collapsar", "lightning")
RANGES = ("check_positive", "check_not_negative", "check_fraction")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The arguments of a constructor.

    Attributes:
        parameters: The arguments by name.
        types: Types by name, if the annotation needs no import.
        ranges: The range checks that it always makes, each with the names of the arguments that it checks.
    """

    parameters: Mapping[str, Parameter]
    types: Mapping[str, Any]
    ranges: Sequence[tuple[Callable[..., None], Sequence[str]]]

    def check_ranges(self, values: Mapping[str, Any]) -> None:
        """Refuse a number out of its range."""
        for check, names in self.ranges:
            check(**{name: values[name] for name in names if isinstance(values.get(name), int | float)})


@cache
def read_signature(target: str) -> Signature | None:
    """The signature of a class of ours or of Lightning's, by its full name; None if it cannot be read."""
    module, _, name = target.rpartition(".")
    found = find_class(module, name)
    if found is None:
        return None
    module, node = found
    bodies = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    if is_dataclass(node):
        fields = fields_of(module, node)
        checks = bodies.get("__post_init__")
    elif checks := bodies.get("__init__"):
        if checks.args.vararg or checks.args.kwarg:
            return None
        fields = arguments_of(checks.args)
    elif any(find_class(module, base.id) for base in node.bases if isinstance(base, ast.Name)):
        return next(filter(None, (read_base(module, base) for base in node.bases)), None)
    else:
        return None
    types = {name: type_of(module, annotation) for name, (annotation, _) in fields.items()}
    return Signature(
        parameters={
            name: Parameter(name, Parameter.KEYWORD_ONLY, default=None if has_default else Parameter.empty)
            for name, (_, has_default) in fields.items()
        },
        types={name: known for name, known in types.items() if known is not None},
        ranges=ranges_in(checks, names=set(fields)) if checks else (),
    )


def read_base(module: str, base: ast.expr) -> Signature | None:
    """The signature of a base class."""
    found = find_class(module, base.id) if isinstance(base, ast.Name) else None
    return read_signature(f"{found[0]}.{found[1].name}") if found else None


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether a `dataclass` decorator stands above a class."""
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def arguments_of(arguments: ast.arguments) -> dict[str, tuple[ast.expr | None, bool]]:
    """For each argument, its annotation and whether it has a default."""
    plain = arguments.args[1:]
    without = len(plain) - len(arguments.defaults)
    found = {each.arg: (each.annotation, index >= without) for index, each in enumerate(plain)}
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found | {each.arg: (each.annotation, default is not None) for each, default in by_name}


def fields_of(module: str, node: ast.ClassDef) -> dict[str, tuple[ast.expr | None, bool]]:
    """The same for the fields of a dataclass and of its dataclass bases."""
    fields: dict[str, tuple[ast.expr | None, bool]] = {}
    for base in node.bases:
        found = find_class(module, base.id) if isinstance(base, ast.Name) else None
        fields |= fields_of(*found) if found and is_dataclass(found[1]) else {}
    own = (each for each in node.body if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each))
    return fields | {
        each.target.id: (each.annotation, each.value is not None) for each in own if isinstance(each.target, ast.Name)
    }


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
            case ast.ImportFrom(module=str() as origin, names=names) if there := named(names, name):
                return alias(origin, there)
    return None


@cache
def find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """A class and the module that defines it: this one, or the one it is imported from; None if there is none."""
    for node in tree_of(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and (there := named(node.names, name)):
            return find_class(node.module or "", there)
    return None


def named(names: Sequence[ast.alias], name: str) -> str | None:
    """The name that an imported name has in its own module; None if it is not imported."""
    return next((each.name for each in names if (each.asname or each.name) == name), None)


@cache
def tree_of(module: str) -> list[ast.stmt]:
    """The statements of a module of ours or of Lightning's; empty for any other module."""
    package, *rest = module.split(".")
    spec = find_spec(package) if package in READ_PACKAGES else None
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin).parent.joinpath(*rest)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else []
