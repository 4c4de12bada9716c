"""Read run folders: every folder with a resolved config.yaml is a chain, finished or not."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from collapsar.foundations.chosen import Chosen, read_chosen
from collapsar.foundations.errors import NonFiniteError, UsageError, printable
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.settings import CONFIG, read_config
from collapsar.foundations.words import counted
from collapsar.journal.profile import Ending, Profile, profile_chain, variance_points
from collapsar.judging.metric_keys import MAIN, WITHOUT_SAMPLES
from collapsar.theory.fitted import values_of

EARLIER_PATHS = {
    f"collapsar.data.analytic.{name}": f"collapsar.data.sources.analytic.{name}Source"
    for name in ("Gaussian", "Categorical", "LinearRegression")
}
"""Present names of renamed classes, by old name; a class that only moved is recognised by its name."""

OF_A_RUN = re.compile(r"generation_\d+|wandb|\..*")  # folders inside a run folder


@dataclass(frozen=True, kw_only=True, repr=False)
class Chain:
    """One run folder."""

    folder: Path
    label: str  # its path below the folder that was read; its whole path if several have the same
    config: dict[str, Any]  # the resolved configuration, with the present names of its classes
    records: tuple[GenerationRecord, ...]  # its finished generations, in order
    overrides: tuple[str, ...]  # the overrides it was started with; empty if unknown
    versions: dict[str, str]  # the packages it ran with; empty if unknown
    problem: str  # why it is not finished; empty if it is
    ending: Ending = ""  # how it ended before its last generation, an outcome; empty if finished or still open
    chosen: Chosen | None = None  # what was chosen for it, and the name of its arm; None if an earlier version made it

    def __repr__(self) -> str:
        state = self.problem or counted(len(self.records), "generation")
        return f"Chain({self.label!r}, seed {self.seed}, {state})"

    def samples(self, generation: int | None = None) -> Any:
        """The `Samples` that a generation gave to the next pool; None: the last generation."""
        return _late("collapsar.journal.store", "RunFolder")(self.folder).synthetic(self._finished(generation))

    def model(self, generation: int | None = None) -> Any:
        """A generation's model (None: the last) on the CPU, in evaluation mode; UsageError if missing or damaged."""
        finished = self._finished(generation)
        machine = next(record.machine for record in self.records if record.generation == finished)
        return _late("collapsar.training.stored", "open_model")(
            self.folder / f"generation_{finished:03d}" / "model.ckpt",
            settings=self.config["model"],
            precision=machine.get("precision"),
        )

    def _finished(self, generation: int | None) -> int:
        finished = [record.generation for record in self.records]
        chosen = self.last_generation if generation is None else generation
        if chosen not in finished:
            shown = f"from {finished[0]} to {finished[-1]}" if finished else "of a chain that has finished one"
            raise UsageError(f"generation must be {shown}: got {chosen}")
        return chosen

    @property
    def seed(self) -> int:
        return int(self.records[0].seed if self.records else self.config.get("seed", 0))

    @cached_property
    def profile(self) -> Profile:
        """Its half-lives, its losses, and the answer to each definition of collapse."""
        return profile_chain(self.records, ending=self.ending)

    @property
    def num_generations(self) -> int:
        """Generations that were requested."""
        return int(self.config.get("num_generations", len(self.records)))

    @property
    def last_generation(self) -> int:
        """The last generation that has a record; -1 if none has."""
        return self.records[-1].generation if self.records else -1

    @property
    def is_open(self) -> bool:
        """Whether it still runs, or the same command would continue it."""
        return not self.ending and len(self.records) < self.num_generations

    @property
    def has_outcome(self) -> bool:
        """Whether it counts: it has a record, or broke down before the first one."""
        return bool(self.records) or self.ending == "broke down"

    def measures(self, event: str) -> bool:
        """Whether it measured what an event of its profile is read from: a half-life, or the first dead class."""
        if event == "first_dead_generation":
            return any(
                one.class_shares or one.factor_shares or "classes_dropped" in one.metrics for one in self.records
            )
        return "recall" in self.first if event == "recall_half_life" else bool(variance_points(self.records)[1])

    def metrics_at(self, generation: int) -> dict[str, float]:
        """Its metrics at a generation; after its end, those of its last record; `WITHOUT_SAMPLES` without records."""
        return self.records[min(generation, len(self.records) - 1)].metrics if self.records else WITHOUT_SAMPLES

    @property
    def first(self) -> dict[str, float]:
        """Its main metrics at generation 0."""
        return self._main(0)

    @property
    def last(self) -> dict[str, float]:
        """Its main metrics at its last generation."""
        return self._main(max(self.last_generation, 0))

    def _main(self, generation: int) -> dict[str, float]:
        metrics = self.metrics_at(generation)
        return {key: metrics[key] for key in MAIN if key in metrics}

    @property
    def last_values(self) -> dict[str, float]:
        """Values carried on after its end: its last metrics and fitted values, or `WITHOUT_SAMPLES`."""
        return values_of(self.records[-1]) if self.records else WITHOUT_SAMPLES


def read_chains(folders: Sequence[Path]) -> list[Chain]:
    """All chains at and below the folders, by path; UsageError without a folder or a run, or for a damaged record."""
    found: dict[Path, Chain] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"no such folder: {folder}")
        for run, config in _runs(folder):
            if run.resolve() not in found:
                label = run.resolve().name if run == folder else str(run.relative_to(folder))
                found[run.resolve()] = _read_chain(run, label=label, config=config)
    if not found:
        raise UsageError(f"no run below {', '.join(map(str, folders))}: a run folder holds config.yaml")
    uses = Counter(chain.label for chain in found.values())
    return [replace(each, label=str(each.folder)) if uses[each.label] > 1 else each for each in found.values()]


def _late(module: str, name: str) -> Any:
    """A function of a room that needs torch, imported when it is called: reading a study shall not wait for torch."""
    return getattr(import_module(module), name)


def row_picture(chain: Chain, generation: int) -> Mapping[str, Any] | None:
    """The table rows that a chain stored for the page at a generation; None if absent or unreadable."""
    return _read_json(chain.folder / f"generation_{generation:03d}" / "table.json")


def _runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run folder, with its config; skipped are folders inside one and, elsewhere, hidden ones without runs."""
    entered = set()
    for parent, children, files in os.walk(folder, followlinks=True):
        path = Path(parent)
        if path.resolve() in entered:
            children.clear()
            continue
        entered.add(path.resolve())
        config = _read_config(path / CONFIG) if CONFIG in files else None
        if config is not None:
            yield path, config
            kept = [name for name in children if not OF_A_RUN.fullmatch(name)]
        else:
            kept = [name for name in children if name[0] != "." or any((path / name).glob(f"*/{CONFIG}"))]
        children[:] = sorted(kept)


def _read_config(path: Path) -> dict[str, Any] | None:
    """The resolved config; None if the file is something else, such as a defaults list, or W&B's copy."""
    config = read_config(path)
    is_run = isinstance(config.get("num_generations"), int) and "defaults" not in config
    return _with_present_names(config) if is_run else None


def _with_present_names(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _with_present_names(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_present_names(value) for value in node]
    return EARLIER_PATHS.get(node, node) if isinstance(node, str) else node


def _read_chain(folder: Path, *, label: str, config: dict[str, Any]) -> Chain:
    records = _read_records(folder / "records.jsonl")
    versions = _read_json(folder / "versions.json") or {}
    problem, ending = _outcome(len(records), int(config["num_generations"]), _read_json(folder / "status.json") or {})
    return Chain(
        folder=folder,
        label=label,
        config=config,
        records=records,
        overrides=_read_overrides(folder / ".hydra" / "overrides.yaml"),
        versions={str(name): str(version) for name, version in versions.items() if version},
        problem=problem,
        ending=ending,
        chosen=read_chosen(folder),
    )


def _read_records(path: Path) -> tuple[GenerationRecord, ...]:
    """The records, each generation once, without a last line that was cut off while being written."""
    if not path.exists():
        return ()
    text = path.read_text("utf-8", "replace")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line]
    records: dict[int, GenerationRecord] = {}
    for number, line in lines:
        try:
            record = GenerationRecord.from_json(line)
        except UsageError as error:
            if number == lines[-1][0] and not text.endswith("\n"):
                break
            raise UsageError(
                f"{path}, line {number}: {error}; the command that made the chain makes this generation and those "
                "after it again"
            ) from error
        records[record.generation] = record
    return tuple(records[generation] for generation in sorted(records))


def _outcome(num_finished: int, num_generations: int, status: dict[str, Any]) -> tuple[str, Ending]:
    """Why a chain is not finished, in the words of its status, and its ending, empty if it could be continued."""
    state, message = (str(status.get(key) or "").strip() for key in ("state", "message"))
    ending: Ending = ""
    if num_finished >= num_generations:
        if state in ("", "running", "finished"):
            return "", ""
    elif state == "failed" and message.startswith(NonFiniteError.__name__):
        ending = "broke down"
    elif state == "stopped":
        ending = "stopped"
    words = {"": "unfinished", "finished": "unfinished", "running": "running, or killed"}
    text = f"{ending or words.get(state, state)} after {num_finished} of {counted(num_generations, 'generation')}"
    return printable(text + (f": {message}" if message else "")), ending  # the file may come from somebody else


def _read_overrides(path: Path) -> tuple[str, ...]:
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return ()
    return tuple(map(str, overrides)) if isinstance(overrides, list) else ()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
