"""Run one chain: train and measure every generation that the run folder does not hold yet.

Random numbers are derived from (seed, generation, purpose), and pools are rebuilt from stored samples, so a killed run
continues with identical numbers.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from collapsar.chain.feasibility import check_sizes
from collapsar.chain.loop import Loop, Turn, record_of, timed
from collapsar.chain.maker import ChainMaker
from collapsar.chain.parts import Parts
from collapsar.data.causes.cause import plant_all
from collapsar.data.real_data import RealData
from collapsar.drawing.judge import JudgeSpace, choose_space
from collapsar.errors import NonFiniteError
from collapsar.journal.journal import Journal, open_journal
from collapsar.journal.tracking import ChainTitle
from collapsar.judging.evaluator import Evaluator, Scores
from collapsar.machine.devices import explain_out_of_memory, torch_settings_kept
from collapsar.records.record import GenerationRecord
from collapsar.samples import Samples
from collapsar.seeding import make_generator
from collapsar.training.shared import SharedTraining, claimed

STRIP_IMAGES = 12  # of the film strip; their latents are the same in every generation


def run_chain(
    parts: Parts, folder: Path, *, chain: str, config: dict[str, Any], console: Console, position: str = ""
) -> list[GenerationRecord]:
    """Train and measure every generation that the run folder does not hold yet.

    Args:
        parts: What the chain is made of.
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
    title = title_of(parts, chain=chain)
    opened = open_journal(folder, title=title, config=config, tracking=parts.tracking, alarm=parts.alarm)
    with torch_settings_kept(), opened as journal:
        if not journal.is_over:
            machine = parts.machine(journal.machine)  # generation 0 chooses it, later runs restore it
            journal.fix_machine(machine)
            parts = parts.on(machine)
            clean = parts.data.load()
            real, held_out = own_data(parts, clean)
            with journal.shown(console, position=position, steps_per_generation=parts.max_steps):
                run_generations(parts, journal, clean=clean, real=real, held_out=held_out)
        return journal.records


def run_generations(
    parts: Parts, journal: Journal, *, clean: RealData, real: RealData, held_out: Samples | None
) -> None:
    """Make the generations that the journal does not hold; `clean` are the real sets without their causes."""
    with explain_out_of_memory("fitting the feature spaces", advice="set evaluation.accelerator=cpu"):
        evaluator, judge = parts.evaluation.prepare(clean), judge_space(parts, real)
    with shared_training(parts, journal, real=real) as first:
        maker = ChainMaker(
            parts=parts,
            real=real,
            held_out=held_out,
            judge=judge,
            num_evaluated=evaluator.num_synthetic,
            journal=journal,
            first=first,
        )
        loop = Loop(
            real=real,
            regime=parts.regime,
            seed=parts.seed,
            num_synthetic=[parts.num_synthetic_at(generation) for generation in range(parts.num_generations)],
            maker=maker,
        )
        for turn in loop.turns(num_finished=len(journal.records), stored=journal.samples):
            keep(turn, parts=parts, evaluator=evaluator, journal=journal)
            if journal.is_over:
                break
            del turn  # else its model stays in memory until the next one is trained


def title_of(parts: Parts, *, chain: str) -> ChainTitle:
    """The names of a chain in progress lines and W&B."""
    return ChainTitle(
        name=chain,
        study=parts.name,
        data=parts.data.name,
        model=parts.model.name,
        regime=parts.regime.name,
        num_generations=parts.num_generations,
    )


def own_data(parts: Parts, clean: RealData) -> tuple[RealData, Samples | None]:
    """The real sets with their causes planted, and the samples held out of the training set; None if none are.

    The evaluator gets the clean sets instead.
    """
    real, num_held_out = clean, 0
    if parts.cause:
        real = plant_all(parts.cause, clean, seed=parts.seed)
        check_sizes(parts, num_real=len(real.train))  # the first check assumed equally large classes
    if parts.recipe.plan.holds_out_real:
        num_held_out = parts.recipe.plan.num_validation(len(real.train))
    return real.hold_out(num_held_out, seed=parts.seed)


def judge_space(parts: Parts, real: RealData) -> JudgeSpace | None:
    """The space that samples are judged in, fitted at once so that a bad judge trains nothing; None if unused."""
    settings = choose_space(parts.judge, sample_shape=parts.data.sample_shape, judged_by=parts.judged_by)
    if settings is None:
        return None
    evaluation = parts.evaluation
    space = JudgeSpace(settings=settings, real=real, device=evaluation.device, cache_dir=evaluation.cache_dir)
    assert space.fitted, "or an error that says why not"
    return space


def shared_training(parts: Parts, journal: Journal, *, real: RealData) -> AbstractContextManager[SharedTraining | None]:
    """The training of generation 0, held while this chain needs it; None if no other chain shares it."""
    if journal.records or not parts.shares_generation_0:
        return nullcontext()
    return claimed(journal.store.path.parent, parts.recipe, config=journal.config, real=real.train)


def keep(turn: Turn, *, parts: Parts, evaluator: Evaluator, journal: Journal) -> None:
    """Draw from a trained generation, measure its samples and store it."""
    model, scores = turn.training.model, measure(turn, evaluator, seed=parts.seed)
    latents, noise = (make_generator(parts.seed, 0, f"strip {purpose}") for purpose in ("latents", "noise"))
    journal.keep(
        record_of(turn, scores, seed=parts.seed, data=parts.data.name, regime=parts.regime.name, size=parts.size),
        samples=turn.synthetic,
        strip=model.film_strip(STRIP_IMAGES, latents=latents, noise=noise),
        save_model=turn.training.save,
        curve=turn.training.curve,
        table=scores.table_picture,
    )


def measure(turn: Turn, evaluator: Evaluator, *, seed: int) -> Scores:
    """The scores of a generation's samples.

    Raises:
        NonFiniteError: samples or scores hold NaN or infinite values.
        DeviceMemoryError: the memory of the device is full.
    """
    samples = turn.drawn.samples  # drawn before the clock of the evaluation starts
    advice = "lower evaluation.num_samples, or set evaluation.accelerator=cpu"
    what = f"measuring generation {turn.generation}"
    with timed(turn.seconds, "evaluate"), explain_out_of_memory(what, advice=advice):
        trained_on = None
        if evaluator.num_training:
            generator = make_generator(seed, turn.generation, "novelty")
            trained_on = turn.pool.draw(evaluator.num_training, generator=generator)
        try:
            return evaluator.evaluate(samples, seed=seed, generation=turn.generation, pool=trained_on)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}, of samples of generation {turn.generation}") from error
