"""Check a part against its constructor: keys beside a `_target_` must be its arguments and have their types.

Hydra itself notices a wrong key only when the part is made, and under `_partial_` only when the recipe is called.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import Any

from hydra.utils import get_method

from collapsar.config.signatures import Signature, imported_signature
from collapsar.errors import UsageError, check_finite

HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
FILLED_IN = {"trainer.precision": "auto"}  # replaced before the recipe is called, so its type is not checked
WORDS = ("data.target", "data.identifiers", "data.missing", "evaluation.table.task.subgroup")
LARGEST_WHOLE_NUMBER = 2**63 - 1  # of int64, the widest integer of a tensor
LARGEST_NUMBER = 1e30  # float32 ends at 3.4e38; this leaves room to multiply
CALLED_WITHOUT_ARGUMENTS = ("model", "trainer")  # recipes: the config sets all arguments


def walk(value: Any, *, key: str = "") -> Iterator[tuple[str, Any]]:
    """A setting and all settings within it, each with its dotted key."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from walk(inner, key=f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, key=f"{key}[{index}]")


def parts(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every part, which is a setting with a `_target_`, with its dotted key."""
    for key, value in walk(settings):
        if key and isinstance(value, Mapping) and "_target_" in value:
            yield key, value


def check_part(path: str, part: Mapping[Any, Any]) -> None:
    """Refuse arguments that the constructor named by `_target_` would not take."""
    check_arguments(path, part, signature=imported_signature(find_target(path, str(part["_target_"]))))


def check_arguments(path: str, part: Mapping[Any, Any], *, signature: Signature | None) -> None:
    """Refuse an unknown or missing key, a wrong type, or a number out of its range; nothing without a signature."""
    if signature is None:
        return
    given = _by_name(path, part, signature=signature)
    for key, value in given.items():
        if FILLED_IN.get(f"{path}.{key}") != value:
            check_type(f"{path}.{key}", value, annotation=signature.types.get(key, Any))
    required = [name for name, each in signature.named.items() if each.default is Parameter.empty]
    missing = [name for name in required if name not in given]  # a recipe's caller may give them
    if missing and (not part.get("_partial_") or path in CALLED_WITHOUT_ARGUMENTS):
        raise UsageError(f"{path} needs {', '.join(missing)}: set {path}.{missing[0]}=VALUE")
    for check, names in signature.ranges:
        check(**{name: given[name] for name in names if isinstance(given.get(name), int | float)})


def _by_name(path: str, part: Mapping[Any, Any], *, signature: Signature) -> dict[str, Any]:
    """The arguments of a part by name, without those that go to `*args`; refuses too many, and unknown keys."""
    names, listed = signature.named, part.get("_args_", [])
    in_order = [name for name, each in names.items() if each.kind <= Parameter.POSITIONAL_OR_KEYWORD]
    if len(listed) > len(in_order) and not signature.has(Parameter.VAR_POSITIONAL):
        raise UsageError(f"{path}._args_ has {len(listed)} values: {path} takes at most {len(in_order)}")
    given = {str(key): value for key, value in part.items() if key not in HYDRA_KEYS}
    unknown = [] if signature.has(Parameter.VAR_KEYWORD) else [key for key in given if key not in names]
    if unknown:
        advice = "; leave out a lever that sets it, or choose another model" if path == "model" else ""
        raise UsageError(f"{path}.{unknown[0]} is not an option: {path} takes {', '.join(names) or 'none'}{advice}")
    return dict(zip(in_order, listed, strict=False)) | given


def find_target(path: str, name: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names; refuses one that does not exist."""
    try:
        return get_method(name)
    except Exception as error:
        module = name.partition(".")[0]
        if module.isidentifier() and find_spec(module) is None:
            why = f"there is no {module}.py in {Path.cwd()}, and no module {module} on PYTHONPATH"
        else:
            why = str(error).strip().splitlines()[-1]
        raise UsageError(f"{path}._target_ names nothing that can be called: {name!r}; {why}") from error


def check_type(key: str, value: Any, *, annotation: Any) -> None:
    """Refuse a value that is not of the annotated type: neither '1' nor true is a number, and 1.0 is no count.

    Parts within a value are checked on their own.
    """
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    if any(parts({key: value})):
        return
    errors = []
    for each in (value, tuple(value)) if isinstance(value, list) else (value,):  # YAML has no tuples
        try:
            adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
            adapter.validate_python(each, strict=True)
        except PydanticSchemaGenerationError:
            return
        except ValidationError as error:
            errors.append(str(error.errors()[0]["msg"]))
        else:
            return
    raise UsageError(f"{key} has a wrong value: got {value!r}; {errors[0][0].lower()}{errors[0][1:]}")


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Refuse a number that is NaN, infinite or too large for a tensor, at any depth."""
    for key, value in walk(settings):
        if isinstance(value, float):
            if key.startswith(WORDS) and not math.isfinite(value):
                advice = f"write '{value}', in quotes"
                raise UsageError(f"{key} takes words, and {value} without quotes is a number: {advice}")
            check_finite(key, value)
            if abs(value) > LARGEST_NUMBER:
                raise UsageError(f"{key} must be at most {LARGEST_NUMBER} in size: got {value}")
        elif isinstance(value, int) and abs(value) > LARGEST_WHOLE_NUMBER:
            raise UsageError(f"{key} must have at most 64 bits: got {value}")
