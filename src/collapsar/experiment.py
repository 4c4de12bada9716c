"""The experiment: the one file to read to know what happens.

    pool[0] is the real training set; model[t] is trained on pool[t]; synthetic[t] is sampled from model[t];
    pool[t+1] = regime(pool[t], real, synthetic[t])

`Experiment` is the schema of the configuration and its runner. Everything it draws is derived from (seed, generation,
purpose), and pools are rebuilt from stored samples, so a killed run continues with identical numbers.
"""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from rich.console import Console
from torch import Tensor

from collapsar.data.batches import check_batch_size
from collapsar.data.pool import Part, Pool, unlabelled
from collapsar.data.real import RealData
from collapsar.errors import NonFiniteError, UsageError
from collapsar.metrics.evaluator import Evaluator
from collapsar.metrics.features import RealSamples
from collapsar.models.generative import LatentVariableModel
from collapsar.profile import profile_chain
from collapsar.progress import ChainProgress
from collapsar.records import GenerationRecord
from collapsar.seeding import make_generator
from collapsar.store import RunFolder, image_grid
from collapsar.training import Training, train

STRIP_IMAGES = 12  # latents that stay the same through the generations


@dataclass
class Experiment:
    """One chain of generations.

    Attributes:
        name: The study: names the output folder and the W&B group.
        seed: Everything random is derived from it.
        num_generations: Models to train, one after the other; generation 0 sees real data only.
        num_synthetic: Samples that each generation gives to the next pool; null takes the real training set's size.
        batch_size: Samples in a training step.
        data: Where real data come from (`collapsar.data.real.Source`).
        model: Recipe of a generation's model.
        regime: How the next pool is made (`collapsar.data.regimes.Regime`).
        evaluation: What is measured (`collapsar.metrics.evaluator.Evaluation`).
        trainer: Recipe of a generation's `lightning.Trainer`.
        tracking: Where records are mirrored to (`collapsar.tracking.Tracking`).
    """

    name: str = MISSING
    seed: int = MISSING
    num_generations: int = MISSING
    num_synthetic: int | None = MISSING
    batch_size: int = MISSING
    data: Any = MISSING
    model: Any = MISSING
    regime: Any = MISSING
    evaluation: Any = MISSING
    trainer: Any = MISSING
    tracking: Any = MISSING

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed must be at least 0: got {self.seed}")
        if self.num_generations < 1:
            raise UsageError(f"num_generations must be at least 1: got {self.num_generations}")
        if self.num_synthetic is not None and self.num_synthetic < 1:
            raise UsageError(f"num_synthetic must be at least 1, or null: got {self.num_synthetic}")
        self.model_name = self.model().name  # builds both recipes once, so that a mistyped key is refused here
        self.trainer()

    def run(self, folder: Path, *, chain: str, config: dict[str, Any], console: Console) -> list[GenerationRecord]:
        """Train and measure every generation that the run folder does not hold yet.

        Args:
            folder: The run folder; a started one is continued.
            chain: What the chain is called in progress lines and W&B.
            config: The resolved configuration, kept beside the records.
            console: Where progress is drawn.

        Returns:
            The records of all generations.

        Raises:
            UsageError: settings that do not fit the data, or a folder made with other settings.
            NonFiniteError: a loss or a sample became NaN or infinite; finished generations stay.
        """
        store = RunFolder(folder)
        with store.claim(config):
            records = store.records()
            if len(records) >= self.num_generations:
                return records
            real = self.data.load()
            self._check(real)
            with self._tracked(store, chain=chain, config=config), self._progress(console, chain, records) as progress:
                evaluator = self.evaluation.prepare(as_real_samples(real))
                pool = self._replay(store, real=real, num_finished=len(records))
                for generation in range(len(records), self.num_generations):
                    pool = self._turn(generation, pool, real=real, evaluator=evaluator, store=store, progress=progress)
        return store.records()

    def _turn(
        self,
        generation: int,
        pool: Pool,
        *,
        real: RealData,
        evaluator: Evaluator,
        store: RunFolder,
        progress: ChainProgress,
    ) -> Pool:
        """One generation: train, sample, evaluate, store, track; returns the next pool."""
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
        with timed(seconds, "sample"):
            num_synthetic = self.num_synthetic or len(real.train)
            drawn = self._sample(training, max(num_synthetic, evaluator.num_synthetic), generation=generation)
        with timed(seconds, "evaluate"):
            scores = evaluator.evaluate(drawn, seed=self.seed, generation=generation)
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
            seconds={phase: round(value, 3) for phase, value in seconds.items()},
            training=training.summary,
            feature_spaces=scores.feature_spaces,
            class_shares=scores.class_shares,
            peak_memory_bytes=peak_memory_bytes(),
        )
        synthetic = drawn[:num_synthetic]
        arrays = {"samples": synthetic} | self._film_strip(training)
        store.write_generation(record, arrays=arrays, save_model=training.save)
        store.write_json("profile.json", profile_chain(store.records()).to_dict())
        images = {name: image_grid(tensor[:64]) for name, tensor in arrays.items() if tensor.dtype == torch.uint8}
        self.tracking.log(record, curve=training.curve, images=images)
        progress.finished(record)
        return self._next_pool(pool, real=real, samples=synthetic, generation=generation)

    def _next_pool(self, pool: Pool, *, real: RealData, samples: Tensor, generation: int) -> Pool:
        next_pool: Pool = self.regime.next_pool(
            pool,
            real=real.train,
            synthetic=unlabelled(samples, origin=generation),
            generator=make_generator(self.seed, generation, "pool"),
        )
        return next_pool

    def _replay(self, store: RunFolder, *, real: RealData, num_finished: int) -> Pool:
        """The pool of the first generation that is not finished, made again from stored samples."""
        pool = Pool((real.train,))
        for generation in range(num_finished):
            pool = self._next_pool(pool, real=real, samples=store.synthetic(generation), generation=generation)
        return pool

    def _sample(self, training: Training, num_samples: int, *, generation: int) -> Tensor:
        try:
            return training.model.sample(num_samples, make_generator(self.seed, generation, "sample"))
        except NonFiniteError as error:
            steps, epochs = (int(training.summary[key]) for key in ("steps", "epochs"))
            raise NonFiniteError(
                f"{error}, in generation {generation} after epoch {epochs}, step {steps}: "
                "lower the learning rate, or look at the pool this generation was trained on"
            ) from error

    def _film_strip(self, training: Training) -> dict[str, Tensor]:
        """The images of the latents that are the same in every generation."""
        if not isinstance(training.model, LatentVariableModel):
            return {}
        latents = torch.randn(
            STRIP_IMAGES, training.model.latent_dim, generator=make_generator(self.seed, 0, "strip latents")
        )
        return {"strip": training.model.render(latents, make_generator(self.seed, 0, "strip noise"))}

    def _check(self, real: RealData) -> None:
        """Refuse settings that do not fit the data, before anything is trained."""
        check_batch_size(self.batch_size, pool_size=min(len(real.train), self.num_synthetic or len(real.train)))
        self.evaluation.check(num_real=len(real.test))

    def _progress(self, console: Console, chain: str, records: list[GenerationRecord]) -> ChainProgress:
        return ChainProgress(
            console,
            chain=chain,
            num_generations=self.num_generations,
            steps_per_generation=self.trainer().max_steps,
            finished=len(records),
        )

    @contextmanager
    def _tracked(self, store: RunFolder, *, chain: str, config: dict[str, Any]) -> Iterator[None]:
        """The state of the chain on disk and in W&B, from start to end."""
        store.write_json("status.json", {"state": "running"})
        job_type = f"{self.model_name}/{self.regime.name}"
        self.tracking.start(store.path, study=self.name, chain=chain, job_type=job_type, config=config)
        try:
            yield
        except BaseException as error:
            store.write_json("status.json", {"state": "failed", "message": f"{type(error).__name__}: {error}"})
            self.tracking.finish(has_failed=True)
            raise
        store.write_json("status.json", {"state": "finished"})
        self.tracking.finish(has_failed=False)


def as_real_samples(real: RealData) -> RealSamples:
    """Real data as the metrics take them: plain tensors."""

    def labels(part: Part) -> Tensor | None:
        return part.labels if real.num_classes else None

    return RealSamples(
        train=real.train.samples,
        train_labels=labels(real.train),
        test=real.test.samples,
        test_labels=labels(real.test),
    )


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Note the wall-clock seconds of a phase."""
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
