"""Check a part against its constructor: keys beside a `_target_` must be its arguments and have their types.

Hydra itself notices a wrong key only when the part is made, and under `_partial_` only when the recipe is called.
"""

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf

from collapsar.config.signatures import Signature, read_signature, read_source
from collapsar.errors import UsageError, check_finite

if TYPE_CHECKING:
    from pydantic import TypeAdapter

HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
FILLED_IN = {"trainer.precision": "auto"}  # replaced before the recipe is called, so its type is not checked
WORDS = ("data.target", "data.identifiers", "data.missing", "evaluation.table.task.subgroup")
LARGEST_WHOLE_NUMBER = 2**63 - 1  # of int64, the widest integer of a tensor
LARGEST_NUMBER = 1e30  # float32 ends at 3.4e38; this leaves room to multiply
CALLED_WITHOUT_ARGUMENTS = ("model", "trainer")  # recipes: the config sets all arguments
ANY = "**"  # stands for all names, if a constructor takes `**kwargs`


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
    """Refuse arguments that the constructor named by `_target_` would not take."""
    signature = imported_signature(find_target(path, str(node["_target_"])))
    if signature is not None:
        check_arguments(path, node, signature=signature)


def check_part_early(path: str, node: DictConfig) -> None:
    """Check keys, types and plain ranges of a part without importing it, if its constructor's source can be read."""
    signature = read_signature(str(node["_target_"]))
    if signature is not None:
        check_arguments(path, node, signature=signature)


def check_arguments(path: str, node: DictConfig, *, signature: Signature) -> None:
    """Refuse arguments that a constructor with this signature would not take.

    A recipe (`_partial_`) may leave arguments to its caller, except a recipe in `CALLED_WITHOUT_ARGUMENTS`.

    Raises:
        UsageError: unknown key, missing key, wrong type, or a number out of its range.
    """
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    given = by_name(path, values, parameters=signature.parameters)
    for key, value in given.items():
        if FILLED_IN.get(f"{path}.{key}") != value:
            check_type(f"{path}.{key}", value, annotation=signature.types.get(key, Any))
    required = [name for name, each in named(signature.parameters).items() if each.default is Parameter.empty]
    missing = [name for name in required if name not in given]
    if missing and (not values.get("_partial_") or path in CALLED_WITHOUT_ARGUMENTS):
        raise UsageError(f"{path} needs {', '.join(missing)}: set {path}.{missing[0]}=VALUE")
    for check, names in signature.ranges:
        check(**{name: given[name] for name in names if isinstance(given.get(name), int | float)})


def by_name(path: str, values: Mapping[Any, Any], *, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """The arguments of a part by name, without those that go to `*args`; refuses too many, and unknown keys."""
    kinds, names, listed = (
        {each.kind for each in parameters.values()},
        list(named(parameters)),
        values.get("_args_", []),
    )
    in_order = [name for name in names if parameters[name].kind <= Parameter.POSITIONAL_OR_KEYWORD]
    listed = values.get("_args_", [])
    if len(listed) > len(in_order) and Parameter.VAR_POSITIONAL not in kinds:
        raise UsageError(f"{path}._args_ has {len(listed)} values: {path} takes at most {len(in_order)}")
    given = {str(key): value for key, value in values.items() if key not in HYDRA_KEYS}
    for key in given if Parameter.VAR_KEYWORD not in kinds else ():
        if key not in names:
            advice = "; leave out a lever that sets it, or choose another model" if path == "model" else ""
            raise UsageError(f"{path}.{key} is not an option: {path} takes {', '.join(names) or 'none'}{advice}")
    return dict(zip(in_order, listed, strict=False)) | given


def look_in_current_folder() -> None:
    """Let a `_target_` name a module of the current folder; installed modules come first."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def find_target(path: str, name: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names.

    Raises:
        UsageError: there is none.
    """
    try:
        return get_method(name)
    except Exception as error:
        module = name.partition(".")[0]
        if module.isidentifier() and find_spec(module) is None:
            why = f"there is no {module}.py in {Path.cwd()}, and no module {module} on PYTHONPATH"
        else:
            why = str(error).strip().splitlines()[-1]
        raise UsageError(f"{path}._target_ names nothing that can be called: {name!r}; {why}") from error


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


def named(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters without `*args` and `**kwargs`."""
    collecting = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind not in collecting}


@cache
def options_of(target: str) -> frozenset[str]:
    """The names of a `_target_`'s arguments, with `ANY` if it takes `**kwargs`; empty if there is no such target.

    They are read from the source if it shows them; else the target is imported.
    """
    try:
        signature = read_source(target) or imported_signature(get_method(target))
    except Exception:  # the user's module may raise anything; find_target refuses the target later, in words
        return frozenset()
    parameters = signature.parameters if signature else {}
    takes_any = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
    return frozenset(named(parameters)) | ({ANY} if takes_any else set())


def check_type(key: str, value: Any, *, annotation: Any) -> None:
    """Refuse a value that is not of the annotated type; parts within a value are checked on their own."""
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter

    if has_parts(value):
        return
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return
    wanted = what_is_wrong(adapter, value)
    if wanted and not (isinstance(value, list) and what_is_wrong(adapter, tuple(value)) is None):  # YAML has no tuples
        raise UsageError(f"{key} has a wrong value: got {value!r}; {wanted[0].lower()}{wanted[1:]}")


def what_is_wrong(adapter: "TypeAdapter[Any]", value: Any) -> str | None:
    """What the value should have been, or None if it fits: neither '1' nor true is a number, and 1.0 is no count."""
    from pydantic import ValidationError

    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return None


def has_parts(value: Any) -> bool:
    """Whether a value contains a part, at any depth."""
    if isinstance(value, dict):
        return "_target_" in value or any(map(has_parts, value.values()))
    return isinstance(value, list) and any(map(has_parts, value))


def check_numbers(key: str, value: Any) -> None:
    """Refuse a number that is NaN, infinite or too large for a tensor, at any depth of a setting."""
    if isinstance(value, Mapping):
        for inner, content in value.items():
            check_numbers(f"{key}.{inner}" if key else str(inner), content)
    elif isinstance(value, list):
        for index, content in enumerate(value):
            check_numbers(f"{key}[{index}]", content)
    elif isinstance(value, float):
        if key.startswith(WORDS) and not math.isfinite(value):
            raise UsageError(f"{key} takes words, and {value} without quotes is a number: write '{value}', in quotes")
        check_finite(key, value)
        if abs(value) > LARGEST_NUMBER:
            raise UsageError(f"{key} must be at most {LARGEST_NUMBER} in size: got {value}")
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE_NUMBER:
        raise UsageError(f"{key} must have at most 64 bits: got {value}")
