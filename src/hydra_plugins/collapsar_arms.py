"""The sweeper of a comparison: a list of arms, each with every seed. Hydra's own sweeper makes products only."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from collapsar.jobs.multirun import arm_jobs


class ArmsSweeper(BasicSweeper):
    """Every arm with every combination of what is swept (`conf/hydra/sweeper/arms.yaml`)."""

    def __init__(
        self, *, arms: Sequence[str | None], params: dict[str, Any] | None, max_batch_size: int | None
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.arms = arms

    def sweep(self, arguments: list[str]) -> Any:
        """Store the typed overrides, from which `split_arguments` makes the jobs."""
        self.typed = list(arguments)
        return super().sweep(arguments)

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """The jobs in batches; `overrides`, in which Hydra joins `params` and the command line, is unused."""
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        jobs = arm_jobs(self.arms, params=self._parse_config(), typed=self.typed, loader=loader)
        return [list(batch) for batch in self.split_overrides_to_chunks(jobs, max_batch_size)]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose each arm once, and the first arm with all that is swept: all jobs would take a minute."""
        num_arms = len(self.arms)
        super().validate_batch_is_legal([*batch[:num_arms], *batch[num_arms::num_arms]])
