"""What happens to a finished generation: it is stored, profiled, mirrored, shown, and watched by the alarm.

A journal is opened on a run folder. It knows what is finished already, and whether the chain is over.
"""

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from collapsar import __version__
from collapsar.journal.alarm import Alarm
from collapsar.journal.profile import profile_chain
from collapsar.journal.progress import ChainProgress
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import Chain, Tracking
from collapsar.records import GenerationRecord
from collapsar.samples import Samples

logger = logging.getLogger(__name__)

VERSIONED = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "scipy", "scikit-learn")


class Journal:
    """The journal of one chain.

    Args:
        store: The run folder, claimed.
        title: What the chain is called.
        tracking: Where records are mirrored to.
        alarm: Rules on the records.

    Attributes:
        records: The finished generations, in order.
    """

    def __init__(self, store: RunFolder, *, title: Chain, tracking: Tracking, alarm: Alarm) -> None:
        self.store, self.title, self.tracking, self.alarm = store, title, tracking, alarm
        self.records = store.records()
        self._progress: ChainProgress | None = None

    @property
    def is_finished(self) -> bool:
        """Whether every generation is."""
        return len(self.records) >= self.title.num_generations

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train: every generation is finished, or the alarm ends the chain here."""
        return self.is_finished or self.alarm.stop_reason(self.records) is not None

    def samples(self, generation: int) -> Samples:
        """The samples that a finished generation gave to the next pool.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return self.store.synthetic(generation)

    def trained(self, epoch: int, steps: int) -> None:
        """Training has come this far in the present generation."""
        self._shown.trained(epoch, steps)

    def keep(
        self,
        record: GenerationRecord,
        *,
        samples: Samples,
        strip: Tensor | None,
        save_model: Callable[[Path], None],
        curve: list[dict[str, float]],
    ) -> None:
        """Take in one finished generation.

        Args:
            record: Its line.
            samples: What the next pool gets.
            strip: The images of the latents that never change; None for models without latents.
            save_model: Writes the checkpoint.
            curve: Training losses, a reading for each group of steps.
        """
        self.store.write_generation(record, samples=samples, strip=strip, save_model=save_model, curve=curve)
        self.records.append(record)
        self.store.write_json("profile.json", profile_chain(self.records).to_dict())
        self.tracking.log(self.store, record)
        self._shown.finished(record)
        self._watch()

    @contextmanager
    def shown(
        self, console: Console, *, position: str, steps_per_generation: int, config: dict[str, Any]
    ) -> Iterator[None]:
        """Show the chain on the terminal, in `status.json` and in W&B while it runs, and say how it ended.

        Args:
            console: Where progress is drawn.
            position: Which job of a multirun it is, in words; empty for a single chain.
            steps_per_generation: Training steps in each generation; 0 where there are none.
            config: The resolved configuration.
        """
        self.store.write_json("status.json", {"state": "running"})
        self.store.write_json("versions.json", versions())
        try:
            self.tracking.start(self.store, chain=self.title, config=config)
            with ChainProgress(
                console,
                chain=self.title.name,
                position=position,
                num_generations=self.title.num_generations,
                steps_per_generation=steps_per_generation,
                records=self.records,
            ) as self._progress:
                yield
        except BaseException as error:
            self.store.write_json("status.json", {"state": "failed", "message": failure_text(error)})
            self.tracking.finish(has_failed=True)
            raise
        self.conclude()
        self.tracking.finish(has_failed=False)

    def conclude(self) -> None:
        """Write down that the chain is over, if it is, and say so if the alarm ended it."""
        if self.is_finished:
            self.store.write_json("status.json", {"state": "finished"})
        elif (reason := self.alarm.stop_reason(self.records)) is not None:
            self.store.write_json("status.json", {"state": "stopped", "message": f"stopped by the {reason}"})
            logger.warning("stopped by the %s; alarm=default goes on", reason)

    @property
    def _shown(self) -> ChainProgress:
        assert self._progress is not None, "a chain is shown while it runs"
        return self._progress

    def _watch(self) -> None:
        """Say which rules have fired in the generation that was just stored."""
        fired = self.alarm.fired(self.records)
        self.store.write_lines("alarms.jsonl", [found.to_json() for found in fired])
        for found in fired:
            if found.generation == self.records[-1].generation:
                self._shown.alarmed(found)
                if self.alarm.notifies:
                    self.tracking.alert(f"Collapse alarm: {found.rule}", str(found))


@contextmanager
def open_journal(
    folder: Path, *, title: Chain, config: dict[str, Any], tracking: Tracking, alarm: Alarm
) -> Iterator[Journal]:
    """The journal of a run folder, which no other process can open until this one is done.

    Raises:
        UsageError: another process holds it, it cannot be written, or it was made with other settings.
    """
    store = RunFolder(folder)
    with store.claim(config):
        journal = Journal(store, title=title, tracking=tracking, alarm=alarm)
        if journal.is_over:
            journal.conclude()  # a kill may have come after the last record
        yield journal


def failure_text(error: BaseException) -> str:
    """Why a chain did not come to its end."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted: the same command continues"
    return f"{type(error).__name__}: {error}"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, to stand in the report."""
    ours = {"python": platform.python_version(), "collapsar": __version__}
    return ours | {name: version(name) for name in VERSIONED}
