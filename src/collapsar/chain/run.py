"""Run one chain: train and measure every generation that the run folder does not hold yet.

Random numbers come from (seed, generation, purpose) and pools from stored samples, so a killed run continues exactly.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from collapsar.chain.loop import Loop, Maker, Turn, timed
from collapsar.chain.parts import Parts, check_sizes
from collapsar.data.causes.cause import plant_all
from collapsar.data.pool import Pool
from collapsar.data.real_data import RealData
from collapsar.drawing.correction import Reference
from collapsar.drawing.selection import Drawn, Judge, choose_space, draw, make_judge
from collapsar.foundations.chosen import Chosen
from collapsar.foundations.errors import NonFiniteError
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator
from collapsar.foundations.words import counted
from collapsar.journal.journal import Journal
from collapsar.journal.profile import entry_gate
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import ChainTitle
from collapsar.judging.evaluator import Evaluator, Scores
from collapsar.machine.devices import explain_out_of_memory, torch_settings_kept
from collapsar.models.generative import GenerativeModel
from collapsar.training import train
from collapsar.training.stored import SharedTraining, can_be_shared, load_stored
from collapsar.training.trainer import Training
from collapsar.training.unfinished import Unfinished, belonging

logger = logging.getLogger(__name__)

STRIP_IMAGES = 12  # of the film strip; their latents are the same in every generation


def run_chain(
    parts: Parts,
    folder: Path,  # the run folder; a started one is continued
    *,
    chain: str,  # its name in progress lines and W&B
    config: dict[str, Any],  # the resolved configuration, stored beside the records
    console: Console,
    position: str = "",  # which job of a multirun it is, in words; empty for a single chain
    chosen: Chosen | None = None,  # the name of its arm and what it is made of; None without a command
    after_generation: Callable[[], None] = lambda: None,  # called when a generation is stored
    expected: str = "",  # how long it will take, in words; empty if that is unknown
    command: str = "",  # that runs the chain, for the notes of W&B
    write_page: Callable[[], Path] | None = None,  # of the finished chain, for a mirror that takes pages
) -> list[GenerationRecord]:
    """Train and measure every generation that the run folder does not hold yet; give the records of all.

    UsageError for settings that do not fit the data, or a folder made with other settings; NonFiniteError if a loss or
    a sample became NaN or infinite. Finished generations stay.
    """
    title = ChainTitle(
        name=chain,
        study=parts.name,
        data=parts.data.name,
        model=parts.model.name,
        regime=parts.regime.name,
        num_generations=parts.num_generations,
        seed=parts.seed,
        chosen=chosen,
        command=command,
    )
    store = RunFolder(folder)
    with torch_settings_kept(), store.claim(config):
        journal = Journal(
            store, title=title, config=config, tracking=parts.tracking, alarm=parts.alarm, write_page=write_page
        )
        if not journal.is_over:
            machine = parts.machine(journal.machine)  # generation 0 chooses it, later runs restore it
            journal.fix_machine(machine)
            parts = parts.on(machine)
            to_go = counted(parts.num_generations - len(journal.records), "generation")
            where = f"{machine.device}, {counted(machine.threads, 'thread')}"
            shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
            logger.info("%s: %s to go on %s%s", shown, to_go, where, f", {expected}" if expected else "")
            run_generations(parts, journal, console=console, position=position, after=after_generation)
        return journal.records


def run_generations(
    parts: Parts, journal: Journal, *, console: Console, position: str, after: Callable[[], None]
) -> None:
    """Make the generations that the journal does not hold."""
    clean = parts.data.load()
    real, held_out = own_data(parts, clean)
    with journal.shown(console, position=position, steps_per_generation=parts.max_steps):
        with explain_out_of_memory("fitting the feature spaces", advice="set evaluation.accelerator=cpu"):
            evaluator, judge = parts.evaluation.prepare_once(clean), chain_judge(parts, real)
        with shared_training(parts, journal, real=real) as first:
            maker = ChainMaker(
                parts=parts,
                real=real,
                held_out=held_out,
                evaluator=evaluator,
                judge=judge,
                journal=journal,
                first=first,
            )
            sizes = parts.all_num_synthetic
            loop = Loop(real=real, regime=parts.regime, seed=parts.seed, num_synthetic=sizes, maker=maker)
            for turn in loop.turns(num_finished=len(journal.records), stored=journal.store.synthetic):
                maker.keep(turn)
                del turn  # else its model stays in memory until the next one is trained
                after()
                if journal.is_over:
                    break


def own_data(parts: Parts, clean: RealData) -> tuple[RealData, Samples | None]:
    """The real sets with causes, which the evaluator never sees, and samples held out of training, if there are any."""
    real, num_held_out = clean, 0
    if parts.cause:
        real = plant_all(parts.cause, clean, seed=parts.seed)
        check_sizes(parts, num_real=len(real.train))  # the first check assumed equally large classes
    if parts.recipe.plan.holds_out_real:
        num_held_out = parts.recipe.plan.num_validation(len(real.train))
    return real.hold_out(num_held_out, seed=parts.seed)


def chain_judge(parts: Parts, real: RealData) -> Judge:
    """The judge of the chain's samples; its space is fitted at once, so that a bad judge trains nothing."""
    settings = choose_space(parts.judge, sample_shape=parts.data.sample_shape, judged_by=parts.judged_by)
    used = parts.evaluation
    space = None if settings is None else settings.fit(real, device=used.device, cache_dir=used.cache_dir)
    return make_judge(space, real=real.train)


def shared_training(parts: Parts, journal: Journal, *, real: RealData) -> AbstractContextManager[SharedTraining | None]:
    """The training of generation 0, held while this chain needs it; None if no other chain shares it."""
    if journal.records or not (parts.share_generation_0 and can_be_shared(parts.recipe, parts.model)):
        return nullcontext()
    return SharedTraining(journal.store.path.parent, parts.recipe, config=journal.config, real=real.train)


@dataclass(frozen=True, kw_only=True)
class ChainMaker(Maker):
    """Makes, measures and stores the generations of an experiment's chain."""

    parts: Parts  # on the chain's machine
    real: RealData  # with their causes
    held_out: Samples | None  # real samples that validate each training
    evaluator: Evaluator
    judge: Judge  # of samples; the model's critic is added
    journal: Journal
    first: SharedTraining | None  # of generation 0, if other chains share it

    def train(self, pool: Pool, generation: int) -> Training:
        if self.first and generation == 0:
            return self.first.training(lambda: self._train(pool, generation))
        return self._train(pool, generation)

    def draw(self, model: GenerativeModel, generation: int) -> Drawn:
        reference = self._reference
        if reference and generation == 0:
            reference = replace(reference, load_first=lambda: model)
        return draw(
            model,
            max(self.parts.num_synthetic_at(generation), self.evaluator.num_synthetic),
            bias=self.parts.bias,
            reference=reference,
            selection=self.parts.selection,
            judge=replace(self.judge, realism=model.realism),
            labelled_by=self.parts.labelled_by,
            as_rows=self.real.table.rows if self.real.table else None,
            seed=self.parts.seed,
            generation=generation,
        )

    def keep(self, turn: Turn) -> None:
        """Draw from a trained generation, measure its samples and store it."""
        model, scores = turn.training.model, self._measure(turn)
        latents, noise = (make_generator(self.parts.seed, 0, f"strip {purpose}") for purpose in ("latents", "noise"))
        strip = model.film_strip(STRIP_IMAGES, latents=latents, noise=noise)
        record = self.journal.completed(record_of(turn, scores, self.parts))
        self.journal.store.write_generation(
            record,
            samples=turn.synthetic,
            strip=strip,
            save_model=turn.training.save,
            curve=turn.training.curve,
            pictures=scores.pictures,
            table=scores.table_picture,
        )
        self.journal.add(record)

    def _train(self, pool: Pool, generation: int) -> Training:
        parts, journal, store = self.parts, self.journal, self.journal.store
        belongs_to = belonging(journal.config, generation=generation, machine=journal.machine)
        return train.train(
            parts.recipe,
            pool,
            seed=parts.seed,
            generation=generation,
            on_steps=journal.trained,
            on_reading=journal.read,
            held_out=self.held_out,
            start=store.model_path(generation - 1) if parts.recipe.plan.warm_start and generation else None,
            real=self.real.train,
            unfinished=Unfinished(store.unfinished_path, belongs_to=belongs_to, minutes=parts.checkpoint_minutes),
            folder=store.path,
        )

    @cached_property
    def _reference(self) -> Reference | None:
        if self.parts.correction is None:
            return None
        return Reference(
            correction=self.parts.correction,
            real=self.real.train,
            seed=self.parts.seed,
            has_encoder=self.parts.model.encode is not None,
            load_first=lambda: load_stored(self.parts.recipe, self.journal.store.model_path(0)),
        )

    @cached_property
    def _first_model(self) -> GenerativeModel:
        return load_stored(self.parts.recipe, self.journal.store.model_path(0))

    def _measure(self, turn: Turn) -> Scores:
        samples, seed = turn.drawn.samples, self.parts.seed  # drawn before the clock of the evaluation starts
        advice = "lower evaluation.num_samples, or set evaluation.accelerator=cpu"
        what = f"measuring generation {turn.generation}"
        with timed(turn.seconds, "evaluate"), explain_out_of_memory(what, advice=advice):
            trained_on = None
            if self.evaluator.num_training:
                generator = make_generator(seed, turn.generation, "novelty")
                trained_on = turn.pool.draw(self.evaluator.num_training, generator=generator)
            try:
                scores = self.evaluator.evaluate(samples, seed=seed, generation=turn.generation, pool=trained_on)
            except NonFiniteError as error:
                raise NonFiniteError(f"{error}, of samples of generation {turn.generation}") from error
            if not self.parts.evaluation.first_encoder:
                return scores
            first = self._first_model if turn.generation else turn.training.model
            assert first.posterior_sd is not None, "checked beforehand"
            spread = first.posterior_sd(samples[: scores.num_synthetic])
            return replace(scores, metrics=scores.metrics | {"first_encoder_sd": spread})


def record_of(turn: Turn, scores: Scores, parts: Parts) -> GenerationRecord:
    """The record of a turn and its scores."""
    training, drawn = turn.training, turn.drawn
    return GenerationRecord(
        generation=turn.generation,
        seed=parts.seed,
        data=parts.data.name,
        model=training.model.name,
        regime=parts.regime.name,
        size=parts.size,
        pool=turn.pool.describe(),
        num_evaluated=scores.num_synthetic,
        num_real=scores.num_real,
        metrics=scores.metrics,
        batches={"num_batches": scores.num_batches, "batch_size": scores.batch_size} if scores.num_batches else {},
        seconds={phase: round(value, 3) for phase, value in turn.seconds.items()},
        shared_seconds=training.shared_seconds,
        training=training.summary,
        feature_spaces=scores.feature_spaces,
        class_shares=scores.class_shares,
        factor_shares=scores.factor_shares,
        selection={"num_drawn": drawn.num_drawn, "num_kept": len(drawn.samples)}
        | ({"judged_by": drawn.judged_by} if drawn.judged_by else {}),
        labels_from=drawn.labels_from or ("stick" if "downstream_accuracy" in scores.metrics else None),
        correction=drawn.corrected_by,
        fitted=training.model.fitted_parameters(),
        entry_gate=entry_gate(scores.metrics) if turn.generation == 0 else None,
    )
