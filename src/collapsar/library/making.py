"""A model as a recipe makes it, for a Lightning Trainer of one's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collapsar.config import composition
from collapsar.errors import UsageError
from collapsar.library.composing import as_overrides, compose_settings, mistakes_named
from collapsar.machine.choice import AUTO
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import check_own_fit
from collapsar.records.recipes import flattened
from collapsar.training.hardware import choose_precision
from collapsar.training.trainer import FULL_PRECISION, check_trainer


@dataclass(frozen=True, kw_only=True)
class MadeModel:
    """A model of a recipe, and how the recipe trains it; unpacks into `model, trainer_arguments`."""

    model: LearnedModel  # fresh, with the recipe's plan of training
    trainer_arguments: dict[str, Any]  # of `lightning.Trainer`
    batch_size: int  # samples in a step

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.trainer_arguments))


def make_model(model: str, *, data: str = "digits", size: str = "small", **overrides: Any) -> MadeModel:
    """A model as the recipe of `conf/recipe` makes it for a data set, and the arguments of its Trainer.

    Initial weights come from torch's own generator, so `lightning.seed_everything` repeats them.

    Args:
        model: As in conf/model.
        data: As in conf/data.
        size: The recipe: small for two CPU cores, full for a GPU.
        overrides: Arguments of the model (`width=64`), or settings of a chain (`lever=["cosine"]`,
            `trainer={"max_steps": 100}`).

    Raises:
        UsageError: as the command would refuse it, or a setting that only a chain carries out.
    """
    chosen = as_overrides({"model": model, "data": data, "size": size})
    config = compose_settings([*chosen, *as_overrides(overrides, others_below="model")])
    with mistakes_named():
        recipe = composition.make(config).parts.recipe
        check_own_fit(recipe.plan, precision=FULL_PRECISION, num_steps=0, is_validated=True)
        made = recipe.model()
        if not isinstance(made, LearnedModel):
            raise UsageError(f"model={model} is fitted by a formula, without a Trainer: choose vae, gan or flow")
        arguments = dict(flattened(recipe.trainer).keywords)
        if arguments.get("precision") == AUTO:
            device = check_trainer(recipe.trainer).strategy.root_device.type
            arguments["precision"] = choose_precision(recipe.trainer, device=device)
    made.plan = recipe.plan
    return MadeModel(model=made, trainer_arguments=arguments, batch_size=recipe.batch_size)
