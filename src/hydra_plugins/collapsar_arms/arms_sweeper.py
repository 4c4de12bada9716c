"""The jobs of a comparison: a list of arms, each with every seed, where Hydra's own sweeper makes products only."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from collapsar.jobs.multirun import arm_jobs


class ArmsSweeper(BasicSweeper):
    """Every arm with every combination of what is swept.

    Chosen by `hydra/sweeper: arms` in an experiment, or `hydra/sweeper=arms` on the command line.
    """

    def __init__(
        self, *, arms: Sequence[str | None], params: dict[str, Any] | None, max_batch_size: int | None
    ) -> None:
        """Notes what the jobs are made of.

        Args:
            arms: What sets each arm apart, as overrides with spaces between them; empty for the arm without any.
            params: What is swept in every arm, such as seeds, as Hydra's own sweeper takes it.
            max_batch_size: Jobs that are handed to the launcher at once; null: all.
        """
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.arms = arms

    def sweep(self, arguments: list[str]) -> Any:
        """Notes what was typed; the rest is Hydra's."""
        self.typed = list(arguments)
        return super().sweep(arguments)

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """The jobs in batches; Hydra calls this with what `params` and the command line say together."""
        assert self.hydra_context is not None
        jobs = arm_jobs(
            self.arms, params=self._parse_config(), typed=self.typed, config_loader=self.hydra_context.config_loader
        )
        return [list(batch) for batch in self.split_overrides_to_chunks(jobs, max_batch_size)]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes each arm once, and what is swept once: all jobs of a comparison would take a minute."""
        num_arms = len(self.arms)
        super().validate_batch_is_legal([*batch[:num_arms], *batch[num_arms::num_arms]])
