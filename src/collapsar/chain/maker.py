"""How a chain makes its generations: from a pool to a trained model, and from the model to samples."""

from dataclasses import dataclass, replace
from functools import cached_property

from collapsar.chain.loop import Maker
from collapsar.chain.parts import Parts
from collapsar.data.pool import Pool
from collapsar.data.real_data import RealData
from collapsar.drawing.correction import Reference
from collapsar.drawing.draw import draw
from collapsar.drawing.judge import Judge
from collapsar.drawing.selection import Drawn
from collapsar.journal.journal import Journal
from collapsar.models.generative import GenerativeModel
from collapsar.samples import Samples
from collapsar.training import train
from collapsar.training.shared import SharedTraining
from collapsar.training.stored import load_stored
from collapsar.training.train import Training
from collapsar.training.unfinished import Unfinished, belonging


@dataclass(frozen=True, kw_only=True)
class ChainMaker(Maker):
    """Makes the generations of an experiment's chain.

    Attributes:
        parts: What the chain is made of, on its machine.
        real: The real sets with their causes.
        held_out: Real samples that validate each training; None if none are held out.
        judge: Judges the samples; the model's critic is added.
        num_evaluated: Samples that are measured; at least so many are drawn.
        journal: Names the files of the chain, and is told how far a training came.
        first: The training of generation 0, if other chains share it.
    """

    parts: Parts
    real: RealData
    held_out: Samples | None
    judge: Judge
    num_evaluated: int
    journal: Journal
    first: SharedTraining | None

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
            max(self.parts.num_synthetic_at(generation), self.num_evaluated),
            bias=self.parts.bias,
            reference=reference,
            selection=self.parts.selection,
            judge=replace(self.judge, realism=model.realism),
            labelled_by=self.parts.labelled_by,
            as_rows=self.real.table.rows if self.real.table else None,
            seed=self.parts.seed,
            generation=generation,
        )

    def _train(self, pool: Pool, generation: int) -> Training:
        parts, journal = self.parts, self.journal
        belongs_to = belonging(journal.config, generation=generation, machine=journal.machine)
        return train.train(
            parts.recipe,
            pool,
            seed=parts.seed,
            generation=generation,
            on_steps=journal.trained,
            on_reading=journal.read,
            held_out=self.held_out,
            start=journal.model_path(generation - 1) if parts.recipe.plan.warm_start and generation else None,
            real=self.real.train,
            unfinished=Unfinished(journal.unfinished_path, belongs_to=belongs_to, minutes=parts.checkpoint_minutes),
            folder=journal.store.path,
        )

    @cached_property
    def _reference(self) -> Reference | None:
        """What the correction compares with, kept for all later generations; None without a correction."""
        if self.parts.correction is None:
            return None
        return Reference(
            correction=self.parts.correction,
            real=self.real.train,
            seed=self.parts.seed,
            has_encoder=self.parts.model.encode is not None,
            load_first=lambda: load_stored(self.parts.recipe, self.journal.model_path(0)),
        )
