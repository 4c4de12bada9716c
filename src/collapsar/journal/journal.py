"""The journal of a chain: it handles each finished generation, and gives a continued chain its earlier ones.

The records are the truth. `profile.json` and `alarms.jsonl` are made from them again when a folder is opened, so a kill
between two writes loses nothing. The profile is computed from all records in memory, in less than .2 s for a thousand.
"""

import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from collapsar.foundations import __version__
from collapsar.foundations.chosen import CHOICES
from collapsar.foundations.commit import commit
from collapsar.foundations.errors import NonFiniteError
from collapsar.foundations.record import GenerationRecord
from collapsar.journal.alarm import Alarm
from collapsar.journal.live import live_view
from collapsar.journal.profile import SHARES, Ending, gate_evidence, profile_chain
from collapsar.journal.progress import ChainProgress
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import ChainTitle, Tracking
from collapsar.machine.choice import Machine, read_machine
from collapsar.machine.devices import forget_peak_memory, peak_device_memory_bytes, peak_memory_bytes
from collapsar.machine.signals import Stopped

logger = logging.getLogger(__name__)

VERSIONED = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "scipy", "scikit-learn")
ALARMS, STATUS, MACHINE, VERSIONS = "alarms.jsonl", "status.json", "machine.json", "versions.json"


class Journal:
    """One chain's journal, while this process holds its folder (`RunFolder.claim`).

    `write_page` writes the page of the finished chain for a mirror that takes pages; None: no page.
    """

    _progress: ChainProgress  # while the chain is shown

    def __init__(
        self,
        store: RunFolder,
        *,
        title: ChainTitle,
        config: dict[str, Any],
        tracking: Tracking,
        alarm: Alarm,
        write_page: Callable[[], Path] | None = None,
    ) -> None:
        forget_peak_memory()
        self.store, self.title, self.config, self.tracking, self.alarm = store, title, config, tracking, alarm
        self.write_page = write_page
        self.records = store.records()  # of the finished generations, in order
        stored = self.records[-1].machine if self.records else {}
        self.machine = read_machine(stored or store.read_json(MACHINE))  # None before the chain begins
        self._fired = alarm.fired(self.records)
        if title.chosen:
            store.write_json(CHOICES, asdict(title.chosen))
        if self.records:
            self._derive_files()
        self._note_the_end()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train: every generation is finished, or the alarm ended the chain."""
        return self._is_complete or self._is_stopped

    def fix_machine(self, machine: Machine) -> None:
        """Fix the machine of the chain from here on: it is stored, and named in each record."""
        self.store.write_json(MACHINE, machine.to_dict())
        self.machine = machine

    @contextmanager
    def shown(self, console: Console, *, position: str, steps_per_generation: int) -> Iterator[None]:
        """Show a chain on the terminal (`ChainProgress`), in `status.json` and in W&B while it runs."""
        self._progress = ChainProgress(
            console,
            title=self.title,
            position=position,
            steps_per_generation=steps_per_generation,
            records=self.records,
        )
        self.store.write_json(STATUS, {"state": "running"})
        self._note_versions()
        try:
            config = self.config | {"versions": self.store.read_json(VERSIONS)}
            if chosen := self.title.chosen:
                config |= {"arm": chosen.arm, "choices": chosen.choices}
            self.tracking.start(self.store, title=self.title, config=config, records=self.records)
            with live_view(console, self._progress.view):
                yield
        except BaseException as error:
            if isinstance(error, NonFiniteError):
                self._write_profile("broke down")
            is_interrupted = isinstance(error, KeyboardInterrupt | Stopped)
            why = "interrupted: the same command continues" if is_interrupted else f"{type(error).__name__}: {error}"
            self.store.write_json(STATUS, {"state": "failed", "message": why})
            self.tracking.finish(has_failed=True)
            raise
        try:
            if self.write_page is not None:
                self.tracking.add_page(self.write_page)
        finally:
            self.tracking.finish(has_failed=False)

    def trained(self, epoch: int, steps: int) -> None:
        """Report how far training came in the current generation."""
        self._progress.trained(epoch, steps)

    def read(self, reading: Mapping[str, int | float]) -> None:
        """Mirror a reading of the losses of the current generation."""
        self.tracking.trained(len(self.records), reading)

    def completed(self, record: GenerationRecord) -> GenerationRecord:
        """A record with the machine of the chain, and the peak memory so far."""
        on_gpu = self.machine is not None and "cuda" in (self.machine.device, self.machine.evaluated_on)
        return replace(
            record,
            peak_memory_bytes=peak_memory_bytes(),
            peak_device_memory_bytes=peak_device_memory_bytes() if on_gpu else None,
            machine=self.machine.to_dict() if self.machine else {},
        )

    def add(self, record: GenerationRecord) -> None:
        """Take a generation that the store holds by now: profile, mirror and show the chain, and check the alarm."""
        self.store.forget_unfinished()
        self.records.append(record)
        fired = self.alarm.fired_by_last(self.records)
        self._fired += fired
        self._derive_files()
        self.tracking.log(self.store, record)
        self._progress.finished(record)
        if record.entry_gate == "failed":
            floors = " and ".join(f"{share:g} of the floor of {key}" for key, share in SHARES.items())
            logger.info("generation 0 fails the entry gate, %s: %s", floors, gate_evidence(record.metrics))
        for found in fired:
            self._progress.alarmed(found)
        if fired and self.alarm.action != "warn" and len(fired) == len(self._fired):  # the first of the chain
            names = ", ".join(found.rule for found in fired)
            self.tracking.alert(f"Collapse alarm: {names}", "\n".join(map(str, fired)))
        self._note_the_end()

    @property
    def _is_complete(self) -> bool:
        return len(self.records) >= self.title.num_generations

    @property
    def _is_stopped(self) -> bool:
        return self.alarm.action == "stop" and bool(self._fired) and not self._is_complete

    def _derive_files(self) -> None:
        self._write_profile("stopped" if self._is_stopped else "")
        self.store.rewrite_lines(ALARMS, [found.to_json() for found in self._fired])

    def _write_profile(self, ending: Ending) -> None:
        self.store.write_json("profile.json", profile_chain(self.records, ending=ending).to_dict())

    def _note_the_end(self) -> None:
        if self._is_complete:
            self.store.forget_unfinished()
            self.store.write_json(STATUS, {"state": "finished"})
        elif self._is_stopped:
            reason = self._fired[0]
            self.store.write_json(STATUS, {"state": "stopped", "message": f"stopped by the {reason}"})
            logger.warning("stopped by the %s; alarm=default goes on", reason)

    def _note_versions(self) -> None:
        here: dict[str, Any] = {"python": platform.python_version(), "collapsar": __version__, "commit": commit()}
        here |= {name: version(name) for name in VERSIONED}
        stored = self.store.read_json(VERSIONS)
        made_by, goes_on_with = (
            f"collapsar {noted.get('collapsar', 'of no known version')}, commit {noted.get('commit') or 'unknown'}"
            for noted in (stored, here)
        )
        is_begun = bool(self.records) or self.store.unfinished_path.exists()
        if is_begun and made_by != goes_on_with:
            text = "%s was made by %s and goes on with %s: numbers may differ from those of one code"
            logger.warning(text, self.store.path, made_by, goes_on_with)
        if is_begun and ("begun_by" in stored or made_by != goes_on_with):
            here["begun_by"] = stored.get("begun_by", made_by)
        self.store.write_json(VERSIONS, here)
