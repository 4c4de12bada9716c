"""The command that reproduces the runs on a page, from what was typed to start them."""

import itertools
import math
import shlex
from collections.abc import Sequence

from collapsar.report.arms import NAMED_PARTS, part_name
from collapsar.report.chains import Chain


def commands(chains: Sequence[Chain]) -> list[str]:
    """One multirun if the chains are a full grid of what was typed, otherwise one command a chain."""
    typed = [_typed(chain) for chain in chains]
    values: dict[str, list[str]] = {}
    for own in typed:
        for key, value in own.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    is_grid = len(chains) > 1 and math.prod(map(len, values.values())) == len(chains)
    if is_grid and {tuple(own.items()) for own in typed} == set(_grid(values)):
        sweep = [f"{key}={','.join(options)}" for key, options in values.items()]
        return [shlex.join(["collapsar", "-m", *sweep])]
    return list(dict.fromkeys(shlex.join(["collapsar", *(f"{k}={v}" for k, v in own.items())]) for own in typed))


def _grid(values: dict[str, list[str]]) -> list[tuple[tuple[str, str], ...]]:
    return [tuple(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def _typed(chain: Chain) -> dict[str, str]:
    """The overrides of a chain by key; where they were not kept, the parts and numbers that name it."""
    if chain.overrides:
        return dict(override.partition("=")[::2] for override in chain.overrides)
    parts = {part: part_name([chain], part) for part in NAMED_PARTS}
    return parts | {"seed": str(chain.seed), "num_generations": str(chain.num_generations)}
