"""Check a part against its constructor: keys beside a `_target_` must be its arguments and have their types.

Hydra itself notices a wrong key only when the part is made, and under `_partial_` only when the recipe is called.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from inspect import Parameter
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from collapsar.config.experiment import parts
from collapsar.foundations.errors import UsageError

HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
# Replaced before the recipe is called, so their types are not checked: a table says its shape once it is read.
FILLED_IN = {"trainer.precision": "auto", "model.sample_shape": None}
CALLED_WITHOUT_ARGUMENTS = ("model", "trainer")  # recipes: the config sets all arguments
COLLECTING = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
ANY = "**"  # stands for all names, if a constructor takes `**kwargs`


def options_of(target: str) -> frozenset[str]:
    """The names of a `_target_`'s arguments, with `ANY` if it takes `**kwargs`; empty if there is no such target."""
    try:
        parameters = inspect.signature(get_method(target)).parameters.values()
    except Exception:  # the user's module may raise anything; find_target refuses the target later, in words
        return frozenset()
    named = [each for each in parameters if each.kind is not Parameter.VAR_POSITIONAL]
    return frozenset(ANY if each.kind is Parameter.VAR_KEYWORD else each.name for each in named)


def check_part(path: str, part: Mapping[Any, Any]) -> None:
    """Refuse an unknown or missing argument of the constructor that `_target_` names, or one of a wrong type."""
    target = find_target(path, str(part["_target_"]))
    try:
        signature = inspect.signature(target)
    except ValueError:  # some classes written in C have none
        return
    given = _by_name(path, part, signature=signature)
    types = types_of(target)
    for key, value in given.items():
        if (f"{path}.{key}", value) not in FILLED_IN.items():
            check_type(f"{path}.{key}", value, annotation=types.get(key, Any))
    parameters = signature.parameters.values()
    required = [each.name for each in parameters if each.default is Parameter.empty and each.kind not in COLLECTING]
    missing = [name for name in required if name not in given]  # a recipe's caller may give them
    if missing and (not part.get("_partial_") or path in CALLED_WITHOUT_ARGUMENTS):
        raise UsageError(f"{path} needs {', '.join(missing)}: set {path}.{missing[0]}=VALUE")


def _by_name(path: str, part: Mapping[Any, Any], *, signature: inspect.Signature) -> dict[str, Any]:
    """The arguments of a part by name, without those that go to `*args`."""
    given = {str(key): value for key, value in part.items() if key not in HYDRA_KEYS}
    names = [name for name, each in signature.parameters.items() if each.kind not in COLLECTING]
    takes_any = any(each.kind is Parameter.VAR_KEYWORD for each in signature.parameters.values())
    unknown = [key for key in given if not takes_any and key not in names]
    if unknown:
        advice = "; leave out a lever that sets it, or choose another model" if path == "model" else ""
        raise UsageError(f"{path}.{unknown[0]} is not an option: {path} takes {', '.join(names) or 'none'}{advice}")
    try:
        bound = signature.bind_partial(*part.get("_args_", ()), **given)
    except TypeError as error:
        raise UsageError(f"{path} has {error}: it takes {', '.join(names) or 'none'}") from error
    return {name: value for name, value in bound.arguments.items() if name in names}


def types_of(target: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of a constructor's arguments; none if Python cannot resolve one of them."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):
        return {}


def find_target(path: str, name: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names; refuses one that does not exist."""
    try:
        return get_method(name)
    except Exception as error:
        why = f"{str(error).strip().splitlines()[-1]} Modules are found in {Path.cwd()} and on PYTHONPATH"
        raise UsageError(f"{path}._target_ names nothing that can be called: {name!r}; {why}") from error


def check_type(key: str, value: Any, *, annotation: Any) -> None:
    """Refuse a value that is not of the annotated type: neither '1' nor true is a number, and 1.0 is no count."""
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    if any(parts({key: value})):  # they are checked on their own
        if "_target_" not in value:
            for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
                check_type(f"{key}.{name}", inner, annotation=_of_values(annotation))
        return
    if is_dataclass(annotation):
        raise UsageError(f"{key} has a wrong value: got {value!r}; it must be a part with a _target_")
    text = ""
    for each in (tuple(value), value) if isinstance(value, list) else (value,):  # YAML has no tuples
        try:
            TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(each, strict=True)
            return
        except PydanticSchemaGenerationError:
            return
        except ValidationError as error:
            found = {each["type"]: str(each["msg"]) for each in reversed(error.errors())}
            text = found.get("float_type", [*found.values()][-1])  # of a whole number or any, any
    raise UsageError(f"{key} has a wrong value: got {value!r}; {text[0].lower()}{text[1:]}")


def check_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse arguments that are not of the types that a function's signature names."""
    for name, annotation in types_of(function).items():
        if name in given:
            check_type(name, given[name], annotation=annotation)


def _of_values(annotation: Any) -> Any:
    """The annotation of the values of a mapping or a list, which may be null; Any if there is none."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    values = [each for kind in kinds for each in get_args(kind)[-1:]]
    return values[0] if len(values) == 1 and values[0] is not ... else Any


def instantiated(config: DictConfig) -> Any:
    """Make what a configuration describes; `check_part` comes first."""
    try:
        return instantiate(config, _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        raise
