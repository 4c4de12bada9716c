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
ANY = "**"  # stands for all names, if a constructor takes `**kwargs`


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The arguments of a constructor.

    Attributes:
        types: Types by name, if the annotation needs no import.
        ranges: The range checks that it always makes, each with the names of the arguments that it checks.
        is_assumed: Whether its `**kwargs` are assumed to go to its bases.
    """

    parameters: Mapping[str, Parameter]
    types: Mapping[str, Any]
    ranges: Sequence[tuple[Callable[..., None], Sequence[str]]] = ()
    is_assumed: bool = False

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
            return signature_of(module, parameters_in(node.args), checks=node)
        case module, ast.ClassDef() as node:
            return signature_of_class(module, node)
    return None


def definition(target: str) -> tuple[str, ast.stmt] | None:
    """The module and the statement that define a name, found through imports; `pass` for a base without arguments."""
    module, _, name = target.rpartition(".")
    if target in NO_ARGUMENTS:
        return module, ast.Pass()
    for node in tree_of(module):
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


def signature_of_class(module: str, node: ast.ClassDef) -> Signature | None:
    """The signature of a class: of its fields if it is a dataclass, of its `__init__`, or of its first base."""
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    bases = [read_source(f"{module}.{base.id}") if isinstance(base, ast.Name) else None for base in node.bases]
    if is_dataclass(node):
        found = [definition(f"{module}.{base.id}") for base in node.bases if isinstance(base, ast.Name)]
        bases = [base for base, each in zip(bases, found, strict=True) if each and is_dataclass(each[1])]
        return joined(signature_of(module, fields_in(node), checks=methods.get("__post_init__")), bases)
    if "__init__" not in methods:
        return next((base for base in bases if base is not NOTHING), NOTHING)
    _self, *parameters = parameters_in(methods["__init__"].args).values()
    own = {each.name: each for each in parameters if not (each.kind is Parameter.VAR_KEYWORD and bases)}
    signature = signature_of(module, own, checks=methods["__init__"])
    return signature if len(own) == len(parameters) else joined(replace(signature, is_assumed=True), bases)


def is_dataclass(node: ast.stmt) -> bool:
    """Whether a statement defines a dataclass."""
    decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
    return any("dataclass" in ast.unparse(decorator) for decorator in decorators)


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
        ranges=[check for line in checks.body if (check := range_in(line, names=parameters))] if checks else (),
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
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    named = [(ast.unparse(each.target), each) for each in fields if "ClassVar" not in ast.unparse(each.annotation)]
    return {name: parameter(name, Parameter.KEYWORD_ONLY, each.annotation, each.value) for name, each in named}


def parameter(name: str, kind: Any, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    """A parameter whose default is None, whatever it is, or that has no default."""
    return Parameter(name, kind, annotation=annotation, default=None if default else Parameter.empty)


def range_in(line: ast.stmt, *, names: Mapping[str, Any]) -> tuple[Callable[..., None], list[str]] | None:
    """The range check that a line of a constructor makes, and the arguments that it checks as given."""
    match line:
        case ast.Expr(value=ast.Call(func=ast.Name(id=check), keywords=keywords)) if check in RANGES:
            given = {each.arg: ast.unparse(each.value) for each in keywords if each.arg and each.arg in names}
            return getattr(errors, check), [name for name, text in given.items() if text in (name, f"self.{name}")]
    return None


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
    match definition(f"{module}.{name}"):
        case origin, ast.Assign(value=value) | ast.AnnAssign(value=value):
            return type_of(origin, value) if isinstance(value, ast.Subscript | ast.BinOp) else None
    return None


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
