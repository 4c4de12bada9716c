"""Mirrors the run folder to Weights & Biases: one run a chain, grouped by study, and one run for the study.

A run is first written to the run folder, where no server can delay it. A chain that continues after a kill writes its
run anew under the same id. What stands in a run, and when it is uploaded, stands in README.md of this folder.
"""

import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import wandb
from pydantic import ValidationError

from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.files import write_atomically
from collapsar.foundations.record import GenerationRecord
from collapsar.journal.rows import AXIS, TRAINING_AXIS, score_row
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import ChainTitle, Tracking
from collapsar.journal.wandb_rows import WandbRows, notes_of, summarise
from collapsar.journal.wandb_server import QUIET, Upload, chosen_mode, default_entity, server
from collapsar.machine import signals

logger = logging.getLogger(__name__)

FLUSH_INTERVAL_SECONDS = 2.0  # of the file that the upload reads; W&B's own is 15
MAX_ALERT_TITLE, MAX_TAG, MAX_ARTIFACT_NAME = 63, 64, 128  # characters
READ_HERE = ("WANDB_MODE", "WANDB_DISABLED")
LEAVING_SECONDS = 3.0  # limit of the upload after a signal; a continued chain is uploaded anew


@dataclass(kw_only=True, eq=False)
class WandbTracking(Tracking):
    """Weights & Biases, with the settings of `conf/tracking/wandb.yaml`."""

    project: str
    entity: str | None
    tags: Sequence[str]
    artifact_generations: Sequence[int]
    system_metrics: bool | None
    console: bool | None
    connect_timeout_seconds: float
    finish_timeout_seconds: float

    def __post_init__(self) -> None:
        check_positive(connect_timeout_seconds=self.connect_timeout_seconds)
        check_positive(finish_timeout_seconds=self.finish_timeout_seconds)
        self.mode = chosen_mode()
        if self.mode != "disabled":
            check_settings(project=self.project, entity=self.entity, tags=self.tags)
        is_online = self.mode in ("online", "shared")
        self.has_system_metrics = is_online if self.system_metrics is None else self.system_metrics
        self.has_console = is_online if self.console is None else self.console
        self._run: wandb.Run | None = None
        self._upload: Upload | None = None

    def begin(self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any]) -> bool:
        if self.mode == "disabled":
            return False
        self._store, self._title, self._rows = store, title, WandbRows()
        self._artifacts = chosen_generations(self.artifact_generations, num_generations=title.num_generations)
        arm = title.chosen.arm if title.chosen else f"{title.model}/{title.regime}"
        self._init(
            store.path,
            name=title.shown,
            group=title.study,
            job_type=arm,
            tags=[title.data, title.model, title.regime, *([arm] if title.chosen else [])],
            notes=title.command,
            config={"arm": arm, **config},
        )
        self._defined = {AXIS, TRAINING_AXIS}
        for axis in self._defined:
            self._active.define_metric(axis, hidden=True)
        return True

    def caught_up(self) -> None:
        for folder in self._earlier:  # the new run holds all that they held
            shutil.rmtree(folder)
        if self.mode not in ("online", "shared"):
            return
        run = self._active
        try:
            entity = self.entity or default_entity(timeout_seconds=self.connect_timeout_seconds)
        except (requests.RequestException, KeyError, TypeError) as error:
            answer = getattr(error, "response", None)
            why = type(error).__name__ if answer is None else f"HTTP {answer.status_code}"
            logger.warning("W&B cannot be reached (%s: %s): this run is kept offline", server(), why)
            return
        logger.info("W&B run: %s/%s/%s/runs/%s", server().replace("//api.", "//"), entity, self.project, run.id)
        self._upload = Upload(Path(run.settings.sync_dir))

    def write_reading(self, row: dict[str, int | float]) -> None:
        self._log(row, axis=TRAINING_AXIS)

    def write_generation(self, store: RunFolder, record: GenerationRecord) -> None:
        self._log(score_row(record) | self._rows.generation_row(record, store), axis=AXIS)
        self._active.summary.update(summarise(store.read_json("profile.json"), record))
        self._active.notes = notes_of(self._title.command, [*self._rows.records.values()])
        if record.generation in self._artifacts:
            self._log_artifact(record)

    def alert(self, title: str, text: str) -> None:
        if self._run is not None:
            self._run.alert(title=title[:MAX_ALERT_TITLE], text=text, level="WARN")

    def add_page(self, write: Callable[[], Path]) -> None:
        if self._run is not None:
            self._log_page(write(), name=self._title.name)

    def add_study(self, folder: Path, *, name: str, page: Path, answer: str, is_alert: bool) -> None:
        if self.mode == "disabled" or os.environ.get("WANDB_SWEEP_ID"):  # an agent's run is one chain
            return
        self._init(folder, name=name, group=name, job_type="study", tags=[], notes=answer, config={})
        self.caught_up()
        self._log_page(page, name=name)
        if is_alert:
            self.alert(f"Study {name} is finished", answer)
        self._close(has_failed=False)

    def finish(self, *, has_failed: bool) -> None:
        if self._run is None:
            return
        if row := self._rows.last_row():
            self._log(row, axis=AXIS)
        if has_failed and (profile := self._store.read_json("profile.json")):  # a breakdown changed it
            self._run.summary.update(summarise(profile, next(reversed(self._store.records()), None)))
        self._is_on = False
        self._close(has_failed=has_failed)

    @property
    def _active(self) -> "wandb.Run":
        assert self._run is not None, "start comes first"
        return self._run

    def _init(self, folder: Path, *, tags: Sequence[str], **given: Any) -> None:
        """Begin a run that is written to a folder only; `caught_up` deletes the earlier ones there."""
        os.environ.update(QUIET)
        self._earlier = sorted((folder / "wandb").glob("offline-run-*"))
        tags_here = filter(None, os.environ.get("WANDB_TAGS", "").split(","))
        with refusals_name("this run"):
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                tags=list(dict.fromkeys([*self.tags, *tags_here, *(tag[:MAX_TAG] for tag in tags)])),
                id=run_id(folder),
                dir=folder.resolve(),  # W&B's own process may have another current folder
                mode="offline",
                settings=wandb.Settings(
                    silent=True,
                    console="wrap" if self.has_console else "off",
                    x_disable_stats=not self.has_system_metrics,
                    x_transaction_log_flush_interval=FLUSH_INTERVAL_SECONDS,
                ),
                **given,
            )

    def _close(self, *, has_failed: bool) -> None:
        run, upload, self._run, self._upload = self._run, self._upload, None, None
        assert run is not None, "start comes first"
        run.finish(exit_code=int(has_failed))
        seconds = self.finish_timeout_seconds
        if signals.is_asked():
            seconds = min(seconds, LEAVING_SECONDS)
        kept = "kept offline; upload it with: wandb sync"
        if upload is None:
            logger.info("W&B run %s %s", kept, run.settings.sync_dir)
        elif not upload.finish(timeout_seconds=seconds):
            logger.warning("W&B did not take the whole run: it is %s %s", kept, run.settings.sync_dir)

    def _log(self, row: dict[str, Any], *, axis: str) -> None:
        for key in row.keys() - self._defined:
            self._active.define_metric(key, step_metric=axis)
        self._defined |= row.keys()
        self._active.log(row)

    def _log_artifact(self, record: GenerationRecord) -> None:
        """Samples and checkpoint of a generation, as an output of the run and the input to the next chosen one."""
        name, place = artifact_name(self._title.name), self._artifacts.index(record.generation)
        artifact = wandb.Artifact(
            name,
            type="generation",
            metadata={
                "generation": record.generation,
                "seed": record.seed,
                "pool": record.pool,
                "descends_from": f"{name}:generation-{self._artifacts[place - 1]}" if place else None,
            },
        )
        for path in sorted(self._store.generation_path(record.generation).iterdir()):
            artifact.add_file(str(path), policy="immutable", skip_cache=True)
        # The one private call to W&B, tried with 0.31: it notes that the run also uses the artifact, which the public
        # `use_artifact` refuses for a run that is kept offline.
        aliases, is_used_later = ["latest", f"generation-{record.generation}"], place + 1 < len(self._artifacts)
        self._active._log_artifact(artifact, aliases=aliases, use_after_commit=is_used_later)

    def _log_page(self, page: Path, *, name: str) -> None:
        artifact = wandb.Artifact(artifact_name(f"{name}-page"), type="page")
        artifact.add_file(str(page.resolve()), name="report.html", policy="immutable", skip_cache=True)
        self._active.log_artifact(artifact)


_apply_staged_inputs = wandb.Run._detect_and_apply_job_inputs


def _apply_inputs(run: "wandb.Run") -> None:
    """W&B Launch takes a second to import, and only a program that imported it can have staged inputs for a run."""
    if "wandb.sdk.launch" in sys.modules:
        _apply_staged_inputs(run)


wandb.Run._detect_and_apply_job_inputs = _apply_inputs  # type: ignore[assignment, method-assign]


def check_settings(*, project: str, entity: str | None, tags: Sequence[str]) -> None:
    """Refuse settings and environment variables that W&B would refuse, with the text of W&B."""
    given: dict[str, Any] = {"project": project, "entity": entity, "run_tags": tags}
    for name, value in given.items():
        setting = f"tracking.{name.removeprefix('run_')}"
        if isinstance(value, str) and not value.strip():
            raise UsageError(f"{setting} must be the name of one: got {value!r}")
        with refusals_name(setting):
            wandb.Settings(**{name: value})
    for variable in (name for name in os.environ if name.startswith("WANDB_") and name not in READ_HERE):
        with refusals_name(variable):
            wandb.Settings().update_from_env_vars({variable: os.environ[variable]})


@contextmanager
def refusals_name(setting: str) -> Iterator[None]:
    """Replace a refusal of W&B by a UsageError that names this setting, with the text of W&B."""
    try:
        yield
    except (ValidationError, wandb.errors.UsageError) as error:
        text = error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else error
        raise UsageError(f"{setting} is refused by W&B: {text}") from error


def artifact_name(name: str) -> str:
    """A name with only those characters that W&B allows in the name of an artifact."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:MAX_ARTIFACT_NAME]


def chosen_generations(wanted: Sequence[int], *, num_generations: int) -> list[int]:
    """Generations by number; negative ones count from the end, and those that the chain lacks are left out."""
    counted = {generation + num_generations if generation < 0 else generation for generation in wanted}
    return sorted(generation for generation in counted if 0 <= generation < num_generations)


def run_id(folder: Path) -> str:
    """The W&B run id of a run folder: made once and kept; if a sweep agent started the chain, the agent's id."""
    path = folder / "wandb_run_id"
    if agent_id := os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"):
        write_atomically(path, agent_id.encode())
    if not path.exists():
        write_atomically(path, secrets.token_hex(4).encode())
    return path.read_text()
