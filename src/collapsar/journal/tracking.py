"""The run folder mirrored to Weights & Biases: one run a chain, grouped by study, metrics against `generation`.

A run is always written to the run folder first, where nothing can hold it up. With an API key and a server that
answers, a second process uploads it while it grows (`collapsar.journal.uploading`); else it stays there for
`wandb sync`, which gives the same run. A chain that goes on after a kill writes its run anew under the same id, from
the run folder.
"""

import logging
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
import requests
import torch
import wandb
from requests.utils import get_netrc_auth

from collapsar.errors import UsageError, check_positive
from collapsar.journal.store import RunFolder, image_grid, tile, write_atomically
from collapsar.journal.uploading import QUIET, Upload
from collapsar.metric_keys import MAIN, split_class
from collapsar.records import GenerationRecord

logger = logging.getLogger(__name__)

FLUSH_INTERVAL_SECONDS = 2.0  # of what the upload reads; W&B's own is 15
DEFAULT_SERVER = "https://api.wandb.ai"
AXIS, TRAINING_AXIS = "generation", "training/total_step"
MAX_ALERT_TITLE = 63  # characters

Mode: TypeAlias = Literal["online", "offline", "disabled", "shared"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a chain is called.

    Attributes:
        name: Its own name, and the artifacts'.
        study: What runs are grouped by.
        data: The data source's name.
        model: The model's name.
        regime: The regime's name.
        num_generations: How many there will be.
    """

    name: str
    study: str
    data: str
    model: str
    regime: str
    num_generations: int


class Tracking(ABC):
    """Where a chain's run folder is mirrored to."""

    @abstractmethod
    def start(self, store: RunFolder, *, chain: Chain, config: dict[str, Any]) -> None:
        """Begin, or go on with, the run of one chain, and mirror the generations that are in the store already."""

    @abstractmethod
    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        """Mirror one generation that is in the store."""

    @abstractmethod
    def alert(self, title: str, text: str) -> None:
        """Notify whoever watches the run."""

    @abstractmethod
    def finish(self, *, has_failed: bool) -> None:
        """End the run, so that the next job of a multirun starts its own."""


class NoTracking(Tracking):
    """Records stay in the run folder."""

    def start(self, store: RunFolder, *, chain: Chain, config: dict[str, Any]) -> None:
        pass

    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        pass

    def alert(self, title: str, text: str) -> None:
        pass

    def finish(self, *, has_failed: bool) -> None:
        pass


class WandbTracking(Tracking):
    """Weights & Biases.

    Args:
        project: W&B project.
        entity: W&B user or team; null takes the account's default.
        tags: Put on every run, beside data, model and regime.
        artifact_generations: Generations whose samples and checkpoint become artifacts; negative ones count from the
            end of the chain. Each is an input to the next one.
        connect_timeout_seconds: A server that has not answered by then is not waited for.
        finish_timeout_seconds: How long the end of a chain waits for the upload.
    """

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        tags: Sequence[str],
        artifact_generations: Sequence[int],
        connect_timeout_seconds: float,
        finish_timeout_seconds: float,
    ) -> None:
        check_positive(connect_timeout_seconds=connect_timeout_seconds, finish_timeout_seconds=finish_timeout_seconds)
        self.project, self.entity, self.tags = project, entity, tags
        self.artifact_generations = artifact_generations
        self.connect_timeout_seconds, self.finish_timeout_seconds = connect_timeout_seconds, finish_timeout_seconds
        self._run: wandb.Run | None = None
        self._upload: Upload | None = None
        self._defined: set[str] = set()

    def start(self, store: RunFolder, *, chain: Chain, config: dict[str, Any]) -> None:
        mode = chosen_mode()
        earlier = sorted((store.path / "wandb").glob("offline-run-*"))
        self._run = self._init(store.path, chain=chain, config=config, is_disabled=mode == "disabled")
        self._artifacts = chosen_generations(self.artifact_generations, num_generations=chain.num_generations)
        self._chain, self._defined = chain, set()
        self._run.define_metric(AXIS, hidden=True)
        self._run.define_metric(TRAINING_AXIS, hidden=True)
        for record in store.records():
            self.log(store, record)
        for folder in earlier:  # the new run holds all that they held
            shutil.rmtree(folder)
        if mode in ("online", "shared"):
            self._upload = self._begin_upload()

    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        steps_before = record.generation * record.training.get("steps", 0)
        for reading in store.curve(record.generation):
            losses = {f"training/{name}": value for name, value in reading.items() if name != "step"}
            self._log({TRAINING_AXIS: steps_before + reading["step"], **losses}, axis=TRAINING_AXIS)
        seconds = {f"seconds/{phase}": value for phase, value in record.seconds.items()}
        pool = {"pool/size": record.pool["size"], "pool/real_fraction": record.pool["real_fraction"]}
        media = pictures(store, record.generation) | class_media(store, record)
        self._log({AXIS: record.generation, **record.metrics, **pool, **seconds, **media}, axis=AXIS)
        self._active.summary.update(summarise(store.read_json("profile.json"), record))
        if record.generation in self._artifacts:
            self._log_artifact(store, record)

    def alert(self, title: str, text: str) -> None:
        self._active.alert(title=title[:MAX_ALERT_TITLE], text=text, level="WARN")

    def finish(self, *, has_failed: bool) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        upload, self._upload = self._upload, None
        run.finish(exit_code=int(has_failed))
        if run.disabled:
            return
        if upload is None:
            logger.info("W&B run kept offline; upload it with: wandb sync %s", run.settings.sync_dir)
        elif not upload.finish(timeout_seconds=self.finish_timeout_seconds):
            logger.warning(
                "W&B did not take the whole run: it is kept offline; upload it with: wandb sync %s",
                run.settings.sync_dir,
            )

    @property
    def _active(self) -> "wandb.Run":
        assert self._run is not None, "start comes first"
        return self._run

    def _init(self, folder: Path, *, chain: Chain, config: dict[str, Any], is_disabled: bool) -> "wandb.Run":
        os.environ.update(QUIET)
        return wandb.init(
            project=self.project,
            entity=self.entity,
            tags=list(dict.fromkeys([*self.tags, chain.data, chain.model, chain.regime])),
            group=chain.study,
            job_type=f"{chain.model}/{chain.regime}",
            name=chain.name,
            id=run_id(folder),
            dir=folder,
            config=config,
            mode="disabled" if is_disabled else "offline",
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                x_transaction_log_flush_interval=FLUSH_INTERVAL_SECONDS,
            ),
        )

    def _begin_upload(self) -> Upload | None:
        """The upload of the run; None where the server does not answer."""
        run = self._active
        try:
            entity = self.entity or default_entity(timeout_seconds=self.connect_timeout_seconds)
        except (requests.RequestException, KeyError, TypeError) as error:
            logger.warning("W&B cannot be reached (%s): this run is kept offline", reason(error))
            return None
        logger.info("W&B run: %s/%s/%s/runs/%s", server().replace("//api.", "//"), entity, self.project, run.id)
        return Upload(Path(run.settings.sync_dir))

    def _log(self, row: dict[str, Any], *, axis: str) -> None:
        """Log a row, each of its keys drawn over the axis."""
        for key in row.keys() - self._defined - {axis}:
            self._active.define_metric(key, step_metric=axis)
        self._defined |= row.keys()
        self._active.log(row)

    def _log_artifact(self, store: RunFolder, record: GenerationRecord) -> None:
        """Samples and checkpoint of a generation, as an output of the run and the input to the next chosen one."""
        later = [generation for generation in self._artifacts if generation > record.generation]
        earlier = [generation for generation in self._artifacts if generation < record.generation]
        artifact = wandb.Artifact(
            self._chain.name,
            type="generation",
            metadata={
                "generation": record.generation,
                "seed": record.seed,
                "pool": record.pool,
                "descends_from": f"{self._chain.name}:generation-{earlier[-1]}" if earlier else None,
            },
        )
        for path in sorted(store.generation_path(record.generation).iterdir()):
            artifact.add_file(str(path), policy="immutable", skip_cache=True)
        # The public use_artifact waits for the server and refuses offline runs; this notes the use for the upload.
        self._active._log_artifact(
            artifact, aliases=["latest", f"generation-{record.generation}"], use_after_commit=bool(later)
        )


def pictures(store: RunFolder, generation: int) -> dict[str, Any]:
    """The samples, the film strip of a generation, and the film strips so far, a row for each generation."""
    media: dict[str, Any] = {}
    values = store.synthetic(generation).values
    if values.dtype == torch.uint8:
        media["samples"] = wandb.Image(image_grid(values))
    strips = [strip for earlier in range(generation + 1) if (strip := store.strip(earlier)) is not None]
    if strips and strips[-1].dtype == torch.uint8:
        num_columns = len(strips[-1])
        media["strip"] = wandb.Image(tile(strips[-1], num_columns=num_columns))
        media["film_strip"] = wandb.Image(tile(torch.cat(strips), num_columns=num_columns))
    return media


def class_media(store: RunFolder, record: GenerationRecord) -> dict[str, Any]:
    """The histogram of classes among the samples, and recall by generation and class so far."""
    media: dict[str, Any] = {}
    if record.class_shares:
        shares = np.array(record.class_shares["synthetic"])
        media["class_histogram"] = wandb.Histogram(np_histogram=(shares, np.arange(len(shares) + 1) - 0.5))
    classes = [key for key in record.metrics if is_class_recall(key)]
    if classes:
        so_far = takewhile(lambda earlier: earlier.generation <= record.generation, store.records())
        rows = [[earlier.generation, *(earlier.metrics.get(key) for key in classes)] for earlier in so_far]
        media["recall_by_class"] = wandb.Table(columns=[AXIS, *classes], data=rows)
    return media


def is_class_recall(key: str) -> bool:
    """Whether a metric key is the recall of one class in the classifier's features."""
    by_class = split_class(key)
    return by_class is not None and by_class[0] == "recall"


def summarise(profile: dict[str, Any], record: GenerationRecord) -> dict[str, Any]:
    """The chain as a whole, for the table of runs: its profile without the evidence, and its last metrics."""
    numbers = {f"profile/{key}": value for key, value in profile.items() if key not in ("findings", "fid_growth")}
    growth = profile.get("fid_growth") or {}
    verdicts = {f"verdict/{key}": finding["verdict"] for key, finding in profile.get("findings", {}).items()}
    final = {f"final/{key}": record.metrics[key] for key in MAIN if key in record.metrics}
    return {**numbers, "profile/fid_growth": growth.get("slope"), **verdicts, **final}


def chosen_generations(wanted: Sequence[int], *, num_generations: int) -> list[int]:
    """Generations by number, negative ones counted from the end; those that the chain does not have fall away."""
    counted = {generation + num_generations if generation < 0 else generation for generation in wanted}
    return sorted(generation for generation in counted if 0 <= generation < num_generations)


def chosen_mode() -> Mode:
    """What WANDB_MODE says; else online where there is an API key, offline where there is none.

    Raises:
        UsageError: WANDB_MODE is none of W&B's modes.
    """
    if mode := os.environ.get("WANDB_MODE"):
        if mode not in get_args(Mode):
            raise UsageError(f"WANDB_MODE must be one of {', '.join(get_args(Mode))}: got {mode!r}")
        return cast("Mode", mode)
    return "online" if api_key() else "offline"


def server() -> str:
    """Where W&B is."""
    return os.environ.get("WANDB_BASE_URL", DEFAULT_SERVER).rstrip("/")


def api_key() -> str | None:
    """The key of WANDB_API_KEY or of `wandb login`; None where there is none."""
    from_login = get_netrc_auth(server())
    return os.environ.get("WANDB_API_KEY") or (from_login[1] if from_login else None)


def default_entity(*, timeout_seconds: float) -> str:
    """The account that the key belongs to, as the server says.

    Raises:
        requests.RequestException: it does not answer in time, or refuses the key.
        KeyError, TypeError: it answers something else.
    """
    answer = requests.post(
        f"{server()}/graphql",
        json={"query": "query Viewer { viewer { entity } }"},
        auth=("api", api_key() or ""),
        timeout=timeout_seconds,
    )
    answer.raise_for_status()
    return str(answer.json()["data"]["viewer"]["entity"])


def reason(error: Exception) -> str:
    """Why the server cannot be used, in a few words."""
    match error:
        case requests.Timeout():
            return f"{server()} does not answer"
        case requests.HTTPError(response=requests.Response() as answer):
            return f"{server()} answers {answer.status_code}"
        case requests.ConnectionError():
            return f"{server()} refuses connections"
        case _:
            return f"{server()} does not answer as W&B does"


def run_id(folder: Path) -> str:
    """The W&B run id of a run folder: made once, and the same after a kill; a sweep agent's, where one asks."""
    path = folder / "wandb_run_id"
    if agent_id := os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"):
        write_atomically(path, agent_id.encode())
    if not path.exists():
        write_atomically(path, secrets.token_hex(4).encode())
    return path.read_text()
