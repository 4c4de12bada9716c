"""A trained model becomes samples: sampled with a bias, then selected."""

from collapsar.drawing.judge import Judge
from collapsar.drawing.selection import Drawn, Selection
from collapsar.models.bias import Bias
from collapsar.models.generative import GenerativeModel
from collapsar.seeding import make_generator


def draw(
    model: GenerativeModel,
    num_samples: int,
    *,
    bias: Bias,
    selection: Selection,
    judge: Judge,
    seed: int,
    generation: int,
) -> Drawn:
    """So many samples of a model.

    Args:
        model: What is sampled.
        num_samples: How many are kept.
        bias: How sampling departs from the model's own distribution.
        selection: Which samples are kept.
        judge: What they are judged by.
        seed: The experiment's seed.
        generation: The model's generation.

    Raises:
        UsageError: too few samples are good enough for the selection.
        NonFiniteError: the model draws NaN or infinite values.
    """
    generator = make_generator(seed, generation, "sample")
    return selection.select(
        lambda num_candidates: model.sample(num_candidates, generator, bias=bias),
        num_samples=num_samples,
        judge=judge,
        generator=make_generator(seed, generation, "selection"),
    )
