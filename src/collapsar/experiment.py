"""The experiment: the one file to read to know what happens.

    pool[0] is the real training set; model[t] is trained on pool[t]; synthetic[t] is sampled from model[t];
    pool[t+1] = regime(pool[t], real, synthetic[t])

`Experiment` is the schema of the configuration and its runner. Everything it draws is derived from (seed, generation,
purpose), and pools are rebuilt from stored samples, so a killed run continues with identical numbers.
"""

import logging
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from collapsar import __version__
from collapsar.errors import NonFiniteError, UsageError, check_not_negative, check_positive
from collapsar.records import GenerationRecord

logger = logging.getLogger(__name__)

VERSIONED = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "scipy", "scikit-learn")
STRIP_IMAGES = 12  # latents that stay the same through the generations


@dataclass
class Experiment:
    """One chain of generations.

    Attributes:
        name: The study: names the output folder and the W&B group.
        seed: Everything random is derived from it.
        num_generations: Models to train, one after the other; generation 0 sees real data only.
        num_synthetic: Samples that each generation gives to the next pool: a number, a list with one value a
            generation, or a schedule (`collapsar.data.schedules`); null takes the real training set's size.
        batch_size: Samples in a training step.
        num_threads: CPU threads of torch; null takes torch's own choice. The smallest networks run best on one.
        data: Where real data come from (`collapsar.data.sources.real.Source`).
        model: Recipe of a generation's model.
        regime: How the next pool is made (`collapsar.data.regimes.Regime`).
        bias: How sampling departs from the model's own distribution (`collapsar.models.bias.Bias`).
        selection: Which samples are let into the pool (`collapsar.drawing.selection.Selection`).
        evaluation: What is measured (`collapsar.metrics.evaluator.Evaluation`).
        trainer: Recipe of a generation's `lightning.Trainer`.
        tracking: Where records are mirrored to (`collapsar.journal.tracking.Tracking`).
        alarm: When a chain is going wrong, and what then happens (`collapsar.journal.alarm.Alarm`).
        objective: What a job returns to a sweeper that optimises (`collapsar.journal.objective`); null: nothing.
    """

    name: str = MISSING
    seed: int = MISSING
    num_generations: int = MISSING
    num_synthetic: Any = MISSING
    batch_size: int = MISSING
    num_threads: int | None = MISSING
    data: Any = MISSING
    model: Any = MISSING
    regime: Any = MISSING
    bias: Any = MISSING
    selection: Any = MISSING
    evaluation: Any = MISSING
    trainer: Any = MISSING
    tracking: Any = MISSING
    alarm: Any = MISSING
    objective: Any = MISSING

    def __post_init__(self) -> None:
        from collapsar.data.schedules import as_schedule, check_bounds
        from collapsar.models.analytic import AnalyticModel

        check_not_negative(seed=self.seed)
        if self.num_generations < 1:
            raise UsageError(f"num_generations must be at least 1: got {self.num_generations}")
        if self.num_threads is not None:
            check_positive(num_threads=self.num_threads)
        if self.num_synthetic is not None:
            check_bounds("num_synthetic", as_schedule(self.num_synthetic), lowest=1)
        model = self.model()  # both recipes are called once, so that a mistyped value is refused before any training
        self.model_name, self.is_analytic = model.name, isinstance(model, AnalyticModel)
        self.max_steps = 0 if self.is_analytic else self.trainer().max_steps
        self._check(model)

    def run(
        self, folder: Path, *, chain: str, config: dict[str, Any], console: Console, position: str = ""
    ) -> list[GenerationRecord]:
        """Train and measure every generation that the run folder does not hold yet.

        Args:
            folder: The run folder; a started one is continued.
            chain: What the chain is called in progress lines and W&B.
            config: The resolved configuration, kept beside the records.
            console: Where progress is drawn.
            position: Which job of a multirun it is, in words; empty for a single chain.

        Returns:
            The records of all generations.

        Raises:
            UsageError: settings that do not fit the data, or a folder made with other settings.
            NonFiniteError: a loss or a sample became NaN or infinite; finished generations stay.
        """
        import torch

        from collapsar.journal.progress import ChainProgress
        from collapsar.journal.store import RunFolder

        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        store = RunFolder(folder)
        with store.claim(config):
            records = store.records()
            if len(records) >= self.num_generations:
                store.write_json("status.json", {"state": "finished"})  # a kill may have come after the last record
                return records
            if self._is_stopped(store):
                return records
            real = self.data.load()
            with (
                self._tracked(store, chain=chain, config=config),
                ChainProgress(
                    console,
                    chain=chain,
                    position=position,
                    num_generations=self.num_generations,
                    steps_per_generation=self.max_steps,
                    records=records,
                ) as progress,
            ):
                evaluator = self.evaluation.prepare(as_real_samples(real), known_modes=known_modes(self.data))
                pool = self._replay(store, real=real, num_finished=len(records))
                for generation in range(len(records), self.num_generations):
                    if self._is_stopped(store):
                        break
                    samples = self._turn(
                        generation, pool, real=real, evaluator=evaluator, store=store, progress=progress
                    )
                    if generation + 1 < self.num_generations:  # nobody is trained on what the last one gives
                        pool = self._next_pool(pool, real=real, samples=samples, generation=generation)
        return store.records()

    def _turn(
        self,
        generation: int,
        pool: Any,
        *,
        real: Any,
        evaluator: Any,
        store: Any,
        progress: Any,
    ) -> Any:
        """One generation: train, sample, evaluate, store, track; returns the samples for the next pool."""
        import torch

        from collapsar.journal.profile import profile_chain
        from collapsar.models.analytic import AnalyticModel
        from collapsar.seeding import make_generator

        seconds: dict[str, float] = {}
        with timed(seconds, "train"):
            training = train(
                model=self.model,
                trainer=self.trainer,
                pool=pool,
                batch_size=self.batch_size,
                seed=self.seed,
                generation=generation,
                on_steps=progress.trained,
            )
        num_synthetic = self._num_synthetic(generation)
        with timed(seconds, "sample"):
            num_needed = max(num_synthetic, evaluator.num_synthetic)
            selected = self._sample(training, num_needed, generation=generation, evaluator=evaluator)
        drawn = selected.samples
        with timed(seconds, "evaluate"):
            generator = make_generator(self.seed, generation, "novelty")
            trained_on = pool.gather(torch.randperm(len(pool), generator=generator)[: evaluator.num_training])
            scores = evaluator.evaluate(drawn, seed=self.seed, generation=generation, pool=trained_on)
        record = GenerationRecord(
            generation=generation,
            seed=self.seed,
            data=self.data.name,
            model=self.model_name,
            regime=self.regime.name,
            pool=pool.describe(),
            num_evaluated=scores.num_synthetic,
            num_real=scores.num_real,
            metrics=scores.metrics,
            batches={"num_batches": scores.num_batches, "batch_size": scores.batch_size} if scores.num_batches else {},
            seconds={phase: round(value, 3) for phase, value in seconds.items()},
            training=training.summary,
            feature_spaces=scores.feature_spaces,
            class_shares=scores.class_shares,
            peak_memory_bytes=peak_memory_bytes(),
            selection={"num_drawn": selected.num_drawn, "num_kept": len(drawn)},
            fitted=training.model.fitted_parameters() if isinstance(training.model, AnalyticModel) else {},
        )
        synthetic = drawn[:num_synthetic].clone()  # a view would keep what was only measured in the pool
        arrays = {"samples": synthetic} | self._film_strip(training)
        store.write_generation(record, arrays=arrays, save_model=training.save, curve=training.curve)
        store.write_json("profile.json", profile_chain(store.records()).to_dict())
        self.tracking.log(store, record)
        progress.finished(record)
        self._sound(store, progress)
        return synthetic

    def _sound(self, store: Any, progress: Any) -> None:
        """Say what has fired in the generation that was just stored."""
        records = store.records()
        fired = self.alarm.fired(records)
        store.write_lines("alarms.jsonl", [found.to_json() for found in fired])
        for found in fired:
            if found.generation == records[-1].generation:
                progress.alarmed(found)
                if self.alarm.notifies:
                    self.tracking.alert(f"Collapse alarm: {found.rule}", str(found))

    def _next_pool(self, pool: Any, *, real: Any, samples: Any, generation: int) -> Any:
        from collapsar.data.pool import unlabelled
        from collapsar.seeding import make_generator

        next_pool: Any = self.regime.next_pool(
            pool,
            real=real.train,
            synthetic=unlabelled(samples, origin=generation),
            generator=make_generator(self.seed, generation, "pool"),
            reserve=real.reserve,
        )
        return next_pool

    def _replay(self, store: Any, *, real: Any, num_finished: int) -> Any:
        """The pool of the first generation that is not finished, made again from stored samples."""
        from collapsar.data.pool import Pool

        pool = Pool((real.train,))
        for generation in range(num_finished):
            pool = self._next_pool(pool, real=real, samples=store.synthetic(generation), generation=generation)
        return pool

    def _sample(self, training: Any, num_samples: int, *, generation: int, evaluator: Any) -> Any:
        """So many samples of the model, biased and selected as the experiment says."""
        from collapsar.seeding import make_generator

        generator = make_generator(self.seed, generation, "sample")
        try:
            selected: Any = self.selection.select(
                lambda num_candidates: training.model.sample(num_candidates, generator, bias=self.bias),
                num_samples=num_samples,
                judge=make_judge(training.model, evaluator),
                generator=make_generator(self.seed, generation, "selection"),
            )
        except NonFiniteError as error:
            steps, epochs = (int(training.summary[key]) for key in ("steps", "epochs"))
            raise NonFiniteError(
                f"{error}, in generation {generation} after epoch {epochs}, step {steps}: "
                "lower the learning rate, or look at the pool this generation was trained on"
            ) from error
        return selected

    def _num_synthetic(self, generation: int) -> int:
        from collapsar.data.schedules import as_schedule

        if self.num_synthetic is None:
            num_real: int = self.data.sizes.train
            return num_real
        return as_schedule(self.num_synthetic).count_at(generation)

    def _film_strip(self, training: Any) -> Any:
        """The images of the latents that are the same in every generation."""
        import torch

        from collapsar.models.generative import LatentVariableModel
        from collapsar.seeding import make_generator

        if not isinstance(training.model, LatentVariableModel):
            return {}
        latents = torch.randn(
            STRIP_IMAGES, training.model.latent_dim, generator=make_generator(self.seed, 0, "strip latents")
        )
        return {"strip": training.model.render(latents, make_generator(self.seed, 0, "strip noise"))}

    def _check(self, model: Any) -> None:
        """Refuse parts that do not go together, before anything is read or trained."""
        from collapsar.data.batches import check_batch_size
        from collapsar.models.analytic import AnalyticModel
        from collapsar.models.gan import GAN

        model.check_bias(self.bias)
        self.selection.check(num_classes=self._num_judged_classes(), has_critic=isinstance(model, GAN))
        self.evaluation.check(num_real=self.data.sizes.test)
        pool_size = min(self._pool_sizes())
        if isinstance(model, AnalyticModel):
            model.check_pool_size(pool_size)
        else:
            check_batch_size(self.batch_size, pool_size=pool_size)

    def _num_judged_classes(self) -> int:
        """Classes that the evaluation's classifier tells apart; 0 without one, as for vectors."""
        from collapsar.metrics.evaluator import PRIMARY_SPACE
        from collapsar.metrics.spaces.features import ClassifierSpace

        is_classifier = isinstance(self.evaluation.spaces.get(PRIMARY_SPACE), ClassifierSpace)
        return self.data.num_classes if is_classifier and len(self.data.sample_shape) > 1 else 0

    def _pool_sizes(self) -> list[int]:
        """Sizes of all pools, as the regime will make them."""
        from collapsar.data.regimes import rehearse
        from collapsar.seeding import make_generator

        num_synthetic = [self._num_synthetic(generation) for generation in range(self.num_generations)]
        return rehearse(
            self.regime,
            num_real=self.data.sizes.train,
            num_reserve=self.data.sizes.reserve,
            num_synthetic=num_synthetic[:-1],
            generator_at=lambda generation: make_generator(self.seed, generation, "pool"),
        )

    def _is_stopped(self, store: Any) -> bool:
        """Whether the alarm ends the chain here, having said so."""
        reason = self.alarm.stop_reason(store.records())
        if reason:
            store.write_json("status.json", {"state": "stopped", "message": f"stopped by the {reason}"})
            logger.warning("stopped by the %s; alarm=default goes on", reason)
        return reason is not None

    @contextmanager
    def _tracked(self, store: Any, *, chain: str, config: dict[str, Any]) -> Iterator[None]:
        """The state of the chain on disk and in W&B, from start to end."""
        store.write_json("status.json", {"state": "running"})
        store.write_json("versions.json", versions())
        try:
            self.tracking.start(store, chain=self._called(chain), config=config)
            yield
        except BaseException as error:
            is_interrupted = isinstance(error, KeyboardInterrupt)
            message = (
                "interrupted: the same command continues" if is_interrupted else f"{type(error).__name__}: {error}"
            )
            store.write_json("status.json", {"state": "failed", "message": message})
            self.tracking.finish(has_failed=True)
            raise
        if len(store.records()) >= self.num_generations:
            store.write_json("status.json", {"state": "finished"})
        self.tracking.finish(has_failed=False)

    def _called(self, chain: str) -> Any:
        from collapsar.journal.tracking import Chain

        return Chain(
            name=chain,
            study=self.name,
            data=self.data.name,
            model=self.model_name,
            regime=self.regime.name,
            num_generations=self.num_generations,
        )


def as_real_samples(real: Any) -> Any:
    """Real data as the metrics take them: plain tensors."""
    from collapsar.metrics.spaces.features import RealSamples

    def labels(part: Any) -> Any:
        return part.labels if real.num_classes else None

    return RealSamples(
        train=real.train.samples,
        train_labels=labels(real.train),
        test=real.test.samples,
        test_labels=labels(real.test),
    )


def known_modes(source: Any) -> Any:
    """The modes of data whose modes are known."""
    from collapsar.data.sources.analytic import ModesSource
    from collapsar.metrics.evaluator import KnownModes

    return KnownModes(source.centres, source.mode_sd) if isinstance(source, ModesSource) else None


def make_judge(model: Any, evaluator: Any) -> Any:
    """What a selection judges samples by: the evaluator's first feature space, and the model's own critic."""
    from collapsar.drawing.selection import Judge
    from collapsar.models.gan import GAN

    space = evaluator.primary_space
    return Judge(
        features=space.extract,
        real_features=lambda: evaluator.real_train_features,
        class_probabilities=(lambda samples: space.classify(space.extract(samples))) if space.head else None,
        realism=model.realism if isinstance(model, GAN) else None,
    )


def train(**arguments: Any) -> Any:
    """Train one generation (`collapsar.training.train`)."""
    from collapsar import training

    return training.train(**arguments)


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Note the wall-clock seconds of a phase."""
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, to stand in the report."""
    ours = {"python": platform.python_version(), "collapsar": __version__}
    return ours | {name: version(name) for name in VERSIONED}


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
