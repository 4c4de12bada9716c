"""Run folders of version 0.1, which are never continued: their names, and how to tell them.

Version 0.1 took every setting into a folder's digest, what is null or empty too, and classes with their modules.
"""

from collections.abc import Mapping
from typing import Any

from collapsar.records.settings import INTRODUCED_AS, binding_settings, class_name, digest, flatten, is_below

FIRST_VERSION = (0, 2)  # whose folders are named and continued as today
FREE_THEN = ("name", "num_generations", "tracking", "alarm", "data.root", "evaluation.cache_folder")
PARTS_SINCE = (  # that it did not have
    "training",
    "cause",
    "correction",
    "labelled_by",
    "objective",
    "continue_on_another_device",
    "wait_for_lock",
    "checkpoint_minutes",
    "dry_run",
    "share_generation_0",
)

CLASSES_THEN = {
    "collapsar.data.analytic": "Grid Ring",
    "collapsar.data.real": "CIFAR10 Digits FashionMNIST MNIST",
    "collapsar.data.regimes": (
        "Accumulate AccumulateSubsample FixedReal FreshReal GoldenRatio Mix Replace Weighted Window"
    ),
    "collapsar.data.schedules": "Constant Cosine Growth Linear Listed",
    "collapsar.data.selection": "Curated Deduplicated Farthest KeepAll TopScored Verified",
    "collapsar.judging.downstream": "DownstreamTask",
    "collapsar.metrics.embedders": "TrainingBudget",
    "collapsar.judging.evaluator": "Evaluation",
    "collapsar.metrics.features": "ClassifierSpace IdentitySpace PCASpace",
    "collapsar.metrics.preprocessing": "Augmentation",
    "collapsar.metrics.pretrained": "DinoV2Space InceptionSpace",
    "collapsar.metrics.self_supervised": "SelfSupervisedSpace",
    "collapsar.models.analytic.analytic": "Categorical Gaussian KernelDensity LinearRegression Mixture",
    "collapsar.models.bias": "ScaledLatents TemperedLikelihood TruncatedLatents",
    "collapsar.models.gan.gan": "GAN",
    "collapsar.models.vae.vae": "VAE",
}
PATHS_THEN = {name: f"{module}.{name}" for module, names in CLASSES_THEN.items() for name in names.split()} | {
    "CategoricalSource": "collapsar.data.analytic.Categorical",
    "GaussianSource": "collapsar.data.analytic.Gaussian",
    "LinearRegressionSource": "collapsar.data.analytic.LinearRegression",
}


def earlier_digest(config: Mapping[str, Any]) -> str | None:
    """The digest that version 0.1 gave these settings; None if one of them did not exist then."""
    config = measured_by_the_judge(config)
    if any(is_later(key) for key in binding_settings(config)):
        return None
    flat = {key: value for key, value in flatten(config).items() if not is_below(key, FREE_THEN)}
    return digest({key: value_then(key, value) for key, value in flat.items() if not is_later(key)})


def measured_by_the_judge(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings with the classifier of version 0.1 in place of a measuring stick; it judged samples too, as seed 0."""
    judge, evaluation = config.get("judge"), config.get("evaluation", {})
    stick = evaluation.get("spaces", {}).get("classifier", {})
    rest = {key: value for key, value in config.items() if key != "judge"}
    if not judge or class_name(stick.get("_target_")) != "StickSpace":
        return rest
    spaces = evaluation["spaces"] | {"classifier": judge | {"seed": 0}}
    return rest | {"evaluation": evaluation | {"spaces": spaces}}


def is_later(key: str) -> bool:
    """Whether version 0.1 did not have this setting."""
    return key in INTRODUCED_AS or is_below(key, PARTS_SINCE)


def value_then(key: str, value: Any) -> Any:
    """A `_target_` with the module that its class was in, and metrics without those that needed no name."""
    if key == "evaluation.metrics":
        return [group for group in value if group != "known_modes"]  # were measured wherever there were any
    return PATHS_THEN.get(class_name(value), value) if key.rpartition(".")[2] == "_target_" else value


def is_earlier(versions: Mapping[str, Any]) -> bool:
    """Whether a run folder with these package versions (versions.json) was made before `FIRST_VERSION`."""
    version = str(versions.get("collapsar", ""))
    return bool(version) and tuple(int(part) for part in version.split(".")[:2]) < FIRST_VERSION
