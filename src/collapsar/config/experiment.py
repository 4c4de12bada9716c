"""The experiment: the one file to read to know what happens.

    pool[0] is the real training set; model[t] is trained on pool[t]; synthetic[t] is drawn from model[t];
    pool[t+1] = regime(pool[t], real, synthetic[t])

`Experiment` is the schema of the configuration, its checks, and its runner; `loop.py` is the loop itself. Random
numbers are derived from (seed, generation, purpose), and pools are rebuilt from stored samples, so a killed run
continues with identical numbers. Only functions import torch, so a command that asks for help does not wait for it.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from collapsar.errors import NonFiniteError, UsageError, check_not_negative, check_positive

if TYPE_CHECKING:
    from rich.console import Console

    from collapsar.chain.loop import Loop, Turn
    from collapsar.data.pool import Pool
    from collapsar.data.real_data import RealData
    from collapsar.drawing.correction import Reference
    from collapsar.drawing.judge import JudgedBy, JudgeSpace
    from collapsar.drawing.selection import Drawn
    from collapsar.journal.journal import Journal
    from collapsar.journal.tracking import ChainTitle
    from collapsar.judging.evaluator import Evaluator
    from collapsar.machine.choice import Machine
    from collapsar.models.generative import GenerativeModel
    from collapsar.records.record import GenerationRecord
    from collapsar.samples import Samples
    from collapsar.training.shared import SharedTraining
    from collapsar.training.train import Training

STRIP_IMAGES = 12  # of the film strip; their latents are the same in every generation


CHECKED_RANGES = ("seed", "num_generations", "num_synthetic", "batch_size", "num_threads", "checkpoint_minutes")


def check_ranges(
    *,
    seed: int,
    num_generations: int,
    num_synthetic: Any,
    batch_size: int,
    num_threads: int | None,
    checkpoint_minutes: float | None,
) -> None:
    """Refuse numbers out of range; a schedule of `num_synthetic` is checked when it is built."""
    from collapsar.data.schedules import Constant, check_bounds

    check_not_negative(seed=seed)
    for name, number in (("num_generations", num_generations), ("batch_size", batch_size)):
        if number < 1:
            raise UsageError(f"{name} must be at least 1: got {number}")
    if isinstance(num_synthetic, int | float):
        check_bounds("num_synthetic", Constant(num_synthetic), lowest=1)
    if num_threads is not None:
        check_positive(num_threads=num_threads)
    if checkpoint_minutes is not None:
        check_positive(checkpoint_minutes=checkpoint_minutes)


@dataclass
class Experiment:
    """One chain of generations.

    Attributes:
        name: The study: names the output folder and the W&B group.
        plugins: Modules that add metrics or sections of the page when they are imported (`judging.plugins`).
        seed: All randomness is derived from it.
        num_generations: Models to train, one after the other; generation 0 sees real data only.
        num_synthetic: Samples that each generation gives to the next pool: a number, a list with one value a
            generation, or a schedule (`collapsar.data.schedules`); null takes the real training set's size.
        size: Which recipe sets sizes and budgets: `small` or `full` (conf/size).
        batch_size: Samples in a training step.
        num_threads: CPU threads of torch; null takes torch's own choice. The smallest networks run best on one.
        continue_on_another_device: Whether a chain may continue here if the device that it began on is absent.
        data: The source of real data (`collapsar.data.sources`).
        cause: Defects of the real training set, by name (`collapsar.data.causes.cause.Cause`).
        model: Recipe of a generation's model.
        regime: How the next pool is made (`collapsar.data.regimes.Regime`).
        bias: How sampling departs from the model's own distribution (`collapsar.models.bias.Bias`).
        correction: How drawn samples are moved before the selection (`collapsar.drawing.correction.Correction`); null
            moves none. A correction that needs a warm start switches it on.
        selection: Which samples enter the pool (`collapsar.drawing.selection.Selection`).
        judge: The feature space in which a selection judges samples, fitted on the chain's own real training set
            (`collapsar.drawing.judge`); null judges vectors as they are.
        labelled_by: Who labels drawn samples: `judge`, or null, which keeps the class that each was drawn for.
        evaluation: What is measured (`collapsar.judging.evaluation.Evaluation`).
        training: The levers of training (`collapsar.models.plan.Plan`).
        trainer: Recipe of a generation's `lightning.Trainer`.
        tracking: Where records are mirrored (`collapsar.journal.tracking.Tracking`).
        alarm: When a chain counts as going wrong, and what then happens (`collapsar.journal.alarm.Alarm`).
        dry_run: Whether to only estimate what the chain would take (`collapsar.config.forecast`).
        checkpoint_minutes: Minutes between checkpoints inside a training, from which a killed process continues
            (`collapsar.training.unfinished`); null stores one only when a signal stops the process.
        wait_for_lock: Whether to wait if another process works in the run folder; else the chain is refused.
        share_generation_0: Whether chains of a study that start alike train their first model once
            (`collapsar.training.shared`).
        objective: What a job returns to an optimising sweeper (`collapsar.journal.objective`); null returns nothing.
    """

    name: Any = MISSING  # text; Any, so that check_study_name can refuse a number of a YAML file
    plugins: list[str] = MISSING
    seed: int = MISSING
    num_generations: int = MISSING
    num_synthetic: Any = MISSING
    size: str = MISSING
    batch_size: int = MISSING
    num_threads: int | None = MISSING
    continue_on_another_device: bool = MISSING
    data: Any = MISSING
    cause: Any = MISSING
    model: Any = MISSING
    regime: Any = MISSING
    bias: Any = MISSING
    correction: Any = MISSING
    selection: Any = MISSING
    judge: Any = MISSING
    labelled_by: str | None = MISSING
    evaluation: Any = MISSING
    training: Any = MISSING
    trainer: Any = MISSING
    tracking: Any = MISSING
    alarm: Any = MISSING
    dry_run: bool = MISSING
    checkpoint_minutes: float | None = MISSING
    wait_for_lock: bool = MISSING
    share_generation_0: bool = MISSING
    objective: Any = MISSING

    def __post_init__(self) -> None:
        from collapsar.config.feasibility import build_on_meta, check_parts
        from collapsar.data.causes.cause import checked_causes
        from collapsar.data.schedules import as_schedule, check_bounds
        from collapsar.drawing.correction import check_correction, warm_started
        from collapsar.training.shared import can_be_shared
        from collapsar.training.train import Recipe
        from collapsar.training.trainer import check_trainer

        check_ranges(**{key: getattr(self, key) for key in CHECKED_RANGES})
        if self.num_synthetic is not None:
            check_bounds("num_synthetic", as_schedule(self.num_synthetic), lowest=1)
        self.cause = checked_causes(
            self.cause,
            sample_shape=self.data.sample_shape,
            num_classes=self.data.num_classes,
            factors=self.data.factors,
        )
        if self.correction is not None and check_correction(self.correction).needs_warm_start:
            self.training = warm_started(self.training)
        self.model = self.data.completed(self.model)
        self.recipe = Recipe(model=self.model, trainer=self.trainer, plan=self.training, batch_size=self.batch_size)
        model = build_on_meta(self.model)  # call both recipes once, to refuse a wrong value before any training
        self.model_name = model.name
        self.max_steps = check_trainer(self.trainer).max_steps if model.is_trained_in_steps else 0
        self.may_be_compiled = model.may_be_compiled
        self.has_encoder = model.encode is not None
        check_parts(self, model)
        self.shares_generation_0 = self.share_generation_0 and can_be_shared(self.recipe, model)

    def run(
        self, folder: Path, *, chain: str, config: dict[str, Any], console: "Console", position: str = ""
    ) -> "list[GenerationRecord]":
        """Train and measure every generation that the run folder does not hold yet.

        Args:
            folder: The run folder; a started one is continued.
            chain: The name of the chain in progress lines and W&B.
            config: The resolved configuration, stored beside the records.
            console: Where progress is drawn.
            position: Which job of a multirun it is, in words; empty for a single chain.

        Returns:
            The records of all generations.

        Raises:
            UsageError: settings that do not fit the data, or a folder made with other settings.
            NonFiniteError: a loss or a sample became NaN or infinite; finished generations stay.
        """
        from collapsar.journal.journal import open_journal
        from collapsar.machine.devices import explain_out_of_memory, torch_settings_kept
        from collapsar.training.shared import claimed

        opened = open_journal(folder, title=self._title(chain), config=config, tracking=self.tracking, alarm=self.alarm)
        with torch_settings_kept(), opened as journal:
            if journal.is_over:
                return journal.records
            self._fix_machine(journal)
            clean = self.data.load()
            real, held_out = self._own(clean)
            with journal.shown(console, position=position, steps_per_generation=self.max_steps):
                with explain_out_of_memory("fitting the feature spaces", advice="set evaluation.accelerator=cpu"):
                    evaluator, judge = self.evaluation.prepare(clean), self._judge_space(real)
                is_shared = self.shares_generation_0 and not journal.records
                sharing = claimed(folder.parent, self.recipe, config=config, real=real.train)
                with sharing if is_shared else nullcontext() as first:
                    loop = self._loop(
                        real, held_out=held_out, evaluator=evaluator, judge=judge, journal=journal, first=first
                    )
                    for turn in loop.turns(num_finished=len(journal.records), stored=journal.samples):
                        self._keep(turn, evaluator=evaluator, journal=journal)
                        if journal.is_over:
                            break
                        del turn  # else its model stays in memory until the next one is trained
            return journal.records

    def machine(self, stored: "Machine | None") -> "Machine":
        """The machine settings for training here: chosen for a new chain, else as stored; also sets torch's threads."""
        from collapsar.judging.evaluation import find_device
        from collapsar.training.hardware import choose_machine

        return choose_machine(
            stored,
            trainer=self.trainer if self.max_steps else None,
            num_threads=self.num_threads,
            evaluated_on=find_device(self.evaluation.accelerator).type,
            may_move=self.continue_on_another_device,
            plan=self.training,
            num_steps=self.max_steps,
            may_be_compiled=self.may_be_compiled,
        )

    def _fix_machine(self, journal: "Journal") -> None:
        """Fix the machine settings: generation 0 chooses them, later runs restore them from the journal."""
        machine = self.machine(journal.machine)
        journal.fix_machine(machine)
        self.recipe = self.recipe.on(machine)
        self.evaluation = replace(self.evaluation, accelerator=machine.evaluated_on)

    def _own(self, clean: "RealData") -> "tuple[RealData, Samples | None]":
        """The real sets with their causes planted, and the samples held out of the training set; None if none are.

        The evaluator gets the clean sets instead.
        """
        from collapsar.config.feasibility import build_on_meta, check_sizes
        from collapsar.data.causes.cause import plant_all
        from collapsar.data.held_out import hold_out

        real, num_held_out = clean, 0
        if self.cause:
            real = plant_all(self.cause, clean, seed=self.seed)
            model = build_on_meta(self.model)  # draws nothing from the global generator
            check_sizes(self, model, num_real=len(real.train))  # the first check assumed equally large classes
        if self.training.holds_out_real:
            num_held_out = self.training.num_validation(len(real.train))
        return hold_out(real, num_held_out=num_held_out, seed=self.seed)

    def _loop(
        self,
        real: "RealData",
        *,
        held_out: "Samples | None",
        evaluator: "Evaluator",
        judge: "JudgeSpace | None",
        journal: "Journal",
        first: "SharedTraining | None",
    ) -> "Loop":
        from collapsar.chain.loop import Loop
        from collapsar.drawing.draw import draw
        from collapsar.drawing.judge import make_judge
        from collapsar.training.stored import load_stored
        from collapsar.training.train import train
        from collapsar.training.unfinished import Unfinished, belonging

        path_of_first = journal.model_path(0)
        later = self._reference(real, load_first=lambda: load_stored(self.recipe, path_of_first))

        def trained(pool: "Pool", generation: int) -> "Training":
            belongs_to = belonging(journal.config, generation=generation, machine=journal.machine)

            def here() -> "Training":
                return train(
                    self.recipe,
                    pool,
                    seed=self.seed,
                    generation=generation,
                    on_steps=journal.trained,
                    held_out=held_out,
                    start=journal.model_path(generation - 1) if self.training.warm_start and generation else None,
                    real=real.train,
                    unfinished=Unfinished(
                        journal.unfinished_path, belongs_to=belongs_to, minutes=self.checkpoint_minutes
                    ),
                    folder=journal.store.path,
                )

            return first.training(here) if first and generation == 0 else here()

        def drawn(training: "Training", generation: int) -> "Drawn":
            at_first = self._reference(real, load_first=lambda: training.model)
            return draw(
                training.model,
                max(self.num_synthetic_at(generation), evaluator.num_synthetic),
                bias=self.bias,
                reference=later if generation else at_first,
                selection=self.selection,
                judge=make_judge(training.model, judge),
                labelled_by=self.labelled_by,
                table=real.table,
                seed=self.seed,
                generation=generation,
            )

        return Loop(
            real=real,
            regime=self.regime,
            seed=self.seed,
            num_generations=self.num_generations,
            num_synthetic=self.num_synthetic_at,
            train=trained,
            draw=drawn,
        )

    def _reference(self, real: "RealData", *, load_first: "Callable[[], GenerativeModel]") -> "Reference | None":
        """The correction and the samples that it compares with; None without a correction."""
        from collapsar.drawing.correction import Reference

        if self.correction is None:
            return None
        return Reference(
            correction=self.correction,
            real=real.train,
            num_classes=real.num_classes,
            seed=self.seed,
            has_encoder=self.has_encoder,
            load_first=load_first,
        )

    def _judge_space(self, real: "RealData") -> "JudgeSpace | None":
        """The space that samples are judged in, fitted at once so that a bad judge trains nothing; None if unused."""
        from collapsar.drawing.judge import JudgeSpace, choose_space

        settings = choose_space(self.judge, sample_shape=self.data.sample_shape, judged_by=self.judged_by)
        if settings is None:
            return None
        space = JudgeSpace(
            settings=settings, real=real, device=self.evaluation.device, cache_dir=self.evaluation.cache_dir
        )
        assert space.fitted, "or an error that says why not"
        return space

    def _keep(self, turn: "Turn", *, evaluator: "Evaluator", journal: "Journal") -> None:
        from collapsar.chain.loop import record_of, timed
        from collapsar.machine.devices import explain_out_of_memory
        from collapsar.seeding import make_generator

        samples, model = turn.drawn.samples, turn.training.model
        advice = "lower evaluation.num_samples, or set evaluation.accelerator=cpu"
        what = f"measuring generation {turn.generation}"
        with timed(turn.seconds, "evaluate"), explain_out_of_memory(what, advice=advice):
            trained_on = None
            if evaluator.num_training:
                generator = make_generator(self.seed, turn.generation, "novelty")
                trained_on = turn.pool.draw(evaluator.num_training, generator=generator)
            try:
                scores = evaluator.evaluate(samples, seed=self.seed, generation=turn.generation, pool=trained_on)
            except NonFiniteError as error:
                raise NonFiniteError(f"{error}, of samples of generation {turn.generation}") from error
        latents, noise = (make_generator(self.seed, 0, f"strip {purpose}") for purpose in ("latents", "noise"))
        journal.keep(
            record_of(turn, scores, seed=self.seed, data=self.data.name, regime=self.regime.name, size=self.size),
            samples=turn.synthetic,
            strip=model.film_strip(STRIP_IMAGES, latents=latents, noise=noise),
            save_model=turn.training.save,
            curve=turn.training.curve,
            table=scores.table_picture,
        )

    def _title(self, chain: str) -> "ChainTitle":
        from collapsar.journal.tracking import ChainTitle

        return ChainTitle(
            name=chain,
            study=self.name,
            data=self.data.name,
            model=self.model_name,
            regime=self.regime.name,
            num_generations=self.num_generations,
        )

    def num_synthetic_at(self, generation: int) -> int:
        """Samples that a generation gives to the next pool."""
        from collapsar.data.schedules import as_schedule

        if self.num_synthetic is None:
            num_real: int = self.data.sizes.train
            return num_real
        return as_schedule(self.num_synthetic).count_at(generation)

    @property
    def judged_by(self) -> "JudgedBy":
        """Which output of the judge is used: its space if it labels samples, else the selection's choice."""
        judged_by: JudgedBy = "space" if self.labelled_by == "judge" else self.selection.judged_by
        return judged_by
