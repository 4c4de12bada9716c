"""The tables of arms: first and last values, every chain, paired differences, and the definitions of collapse."""

from typing import Any

from collapsar.study.study import Study


def content(study: Study) -> dict[str, Any]:
    """The chains with their arms, if there are more chains than arms that count or one is unfinished."""
    chains = [(arm, chain) for arm in study.arms for chain in arm.chains if chain.has_outcome]
    is_needed = len(chains) > len(study.counted) or any(chain.problem for chain in study.chains)
    return {"with_outcome": chains if is_needed else []}
