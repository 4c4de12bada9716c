"""From a trained model to samples: drawn with a bias, corrected, selected and labelled.

Before selection, vectors of a table become valid rows, as images are quantised; a row contains its label.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from collapsar.drawing.correction import Draw, Reference
from collapsar.drawing.selection import Drawn, Judge, LabelsFrom, Selection
from collapsar.models.bias import Bias
from collapsar.models.generative import GenerativeModel
from collapsar.samples import Samples, check_finite_values
from collapsar.seeding import make_generator


def draw(
    model: GenerativeModel,
    num_samples: int,
    *,
    bias: Bias,
    reference: Reference | None,
    selection: Selection,
    judge: Judge,
    labelled_by: str | None,
    as_rows: Callable[[Tensor], Samples] | None,
    seed: int,
    generation: int,
) -> Drawn:
    """Draw `num_samples` samples of a model, corrected by the reference (if there is one) and selected.

    With `labelled_by="judge"` each sample gets the judge's likeliest class. With None it keeps the class that it was
    drawn for, if any. `as_rows` makes vectors valid rows of a table, with their targets' classes; None for other data.
    """
    sample: Draw = partial(model.sample, generator=make_generator(seed, generation, "sample"), bias=bias)
    corrected_by: dict[str, Any] = {}
    if reference is not None and reference.correction.acts_at(generation):
        sample = reference.corrected(sample, model=model, bias=bias, generation=generation)
        corrected_by = reference.correction.describe()

    def candidates(num_candidates: int) -> Samples:
        samples = sample(num_candidates)
        if as_rows is None:
            return samples
        check_finite_values(samples.values)
        return as_rows(samples.values)

    lots = make_generator(seed, generation, "selection")
    drawn = selection.select(candidates, num_samples=num_samples, judge=judge, generator=lots)
    samples = drawn.samples
    labels_from: LabelsFrom = "condition" if as_rows is None else "row"
    if labelled_by == "judge":
        likeliest = judge.class_probabilities(samples.values).argmax(1).cpu()
        samples, labels_from = Samples(samples.values, likeliest), "judge"
    labelled = None if samples.labels is None else labels_from
    return replace(drawn, samples=samples, labels_from=labelled, corrected_by=corrected_by)
