"""Records mirrored to Weights & Biases: one run a chain, grouped by study, metrics against `generation`.

A chain's run id is kept in its run folder, so a killed chain goes on in the same W&B run. Without an API
key the run is kept offline in the run folder: nothing asks, nothing blocks, and `wandb sync` uploads it later.
"""

import logging
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
import wandb
from PIL import Image
from requests.utils import get_netrc_auth

from collapsar.errors import UsageError
from collapsar.records import GenerationRecord
from collapsar.store import write_atomically

logger = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 20.0

Mode: TypeAlias = Literal["online", "offline", "disabled", "shared"]


class Tracking(ABC):
    """Where a chain's records are mirrored to."""

    @abstractmethod
    def start(self, folder: Path, *, study: str, chain: str, job_type: str, config: dict[str, Any]) -> None:
        """Begin, or go on with, the run of one chain.

        Args:
            folder: The chain's run folder.
            study: What runs are grouped by.
            chain: Name and identity of the run.
            job_type: Model and regime.
            config: The resolved config.
        """

    @abstractmethod
    def log(
        self, record: GenerationRecord, *, curve: Sequence[dict[str, float]], images: dict[str, Image.Image]
    ) -> None:
        """Mirror one generation: its record, its training curve and its pictures."""

    @abstractmethod
    def finish(self, *, has_failed: bool) -> None:
        """End the run, so that the next job of a multirun starts its own."""


class NoTracking(Tracking):
    """Records stay in the run folder."""

    def start(self, folder: Path, *, study: str, chain: str, job_type: str, config: dict[str, Any]) -> None:
        pass

    def log(
        self, record: GenerationRecord, *, curve: Sequence[dict[str, float]], images: dict[str, Image.Image]
    ) -> None:
        pass

    def finish(self, *, has_failed: bool) -> None:
        pass


class WandbTracking(Tracking):
    """Weights & Biases.

    Args:
        project: W&B project.
        entity: W&B user or team; null takes the account's default.
        tags: Put on every run.
    """

    def __init__(self, *, project: str, entity: str | None, tags: Sequence[str]) -> None:
        self.project, self.entity, self.tags = project, entity, tags
        self._run: wandb.Run | None = None

    def start(self, folder: Path, *, study: str, chain: str, job_type: str, config: dict[str, Any]) -> None:
        mode = chosen_mode()
        try:
            self._run = self._init(folder, study=study, chain=chain, job_type=job_type, config=config, mode=mode)
        except wandb.errors.Error as error:
            logger.warning("W&B cannot be reached (%s): this run is kept offline", str(error).splitlines()[0])
            self._run = self._init(folder, study=study, chain=chain, job_type=job_type, config=config, mode="offline")
        self._run.define_metric("generation", hidden=True)
        self._run.define_metric("*", step_metric="generation")
        self._run.define_metric("training/total_step", hidden=True)
        self._run.define_metric("training/*", step_metric="training/total_step")

    def log(
        self, record: GenerationRecord, *, curve: Sequence[dict[str, float]], images: dict[str, Image.Image]
    ) -> None:
        assert self._run is not None, "start comes before log"
        steps_before = record.generation * record.training.get("steps", 0)
        for reading in curve:
            losses = {f"training/{name}": value for name, value in reading.items() if name != "step"}
            self._run.log({**losses, "training/total_step": steps_before + reading["step"]})
        media: dict[str, Any] = {name: wandb.Image(image) for name, image in images.items()}
        if record.class_shares:
            shares = np.array(record.class_shares["synthetic"])
            media["class_histogram"] = wandb.Histogram(np_histogram=(shares, np.arange(len(shares) + 1) - 0.5))
        seconds = {f"seconds/{phase}": value for phase, value in record.seconds.items()}
        pool = {"pool/size": record.pool["size"], "pool/real_fraction": record.pool["real_fraction"]}
        self._run.log({"generation": record.generation, **record.metrics, **pool, **seconds, **media})

    def finish(self, *, has_failed: bool) -> None:
        if self._run is None:
            return
        self._run.finish(exit_code=int(has_failed))
        if self._run.settings.mode == "offline":
            logger.info("W&B run kept offline; upload it with: wandb sync %s", self._run.settings.sync_dir)
        self._run = None

    def _init(
        self, folder: Path, *, study: str, chain: str, job_type: str, config: dict[str, Any], mode: Mode
    ) -> "wandb.Run":
        return wandb.init(
            project=self.project,
            entity=self.entity,
            tags=list(self.tags),
            group=study,
            job_type=job_type,
            name=chain,
            id=kept_run_id(folder),
            resume="allow" if mode == "online" else None,
            dir=folder,
            config=config,
            mode=mode,
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=INIT_TIMEOUT_SECONDS, x_disable_stats=True
            ),
        )


def chosen_mode() -> Mode:
    """What WANDB_MODE says; else online where there is an API key, offline where there is none.

    Raises:
        UsageError: WANDB_MODE is none of W&B's modes.
    """
    if mode := os.environ.get("WANDB_MODE"):
        if mode not in get_args(Mode):
            raise UsageError(f"WANDB_MODE must be one of {', '.join(get_args(Mode))}: got {mode!r}")
        return cast("Mode", mode)
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    has_key = bool(os.environ.get("WANDB_API_KEY")) or get_netrc_auth(server) is not None
    return "online" if has_key else "offline"


def kept_run_id(folder: Path) -> str:
    """The W&B run id of a run folder; made once, and the same after a kill."""
    path = folder / "wandb_run_id"
    if not path.exists():
        write_atomically(path, secrets.token_hex(4).encode())
    return path.read_text()
