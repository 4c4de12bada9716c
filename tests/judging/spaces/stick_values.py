"""What each stick says of sample sets that never change; `python tests/judging/spaces/stick_values.py` writes it down.

The sets are made of the official files, or of drawn scenes, alone: real images that no stick has seen, the same with
noise, the same blurred, and the same without half of the classes, each against as many test images.
"""

import json
import os
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from collapsar.data.sources.real import CIFAR10, MNIST, Digits
from collapsar.foundations.samples import quantise, to_model_range
from collapsar.judging.spaces.preprocessing import binomial_blur
from collapsar.judging.spaces.stick import FOLDER, StickSpace, read_stick
from collapsar.metrics.frechet import frechet_distance
from collapsar.metrics.neighbours import neighbour_scores

VALUES = Path(__file__).with_suffix(".json")
STICKS = ("digits", "mnist", "cifar10", "scenes")
NUM_IMAGES = 2_000  # of each kind, where there are so many
NOISE_STD = {"digits": 0.2, "mnist": 0.2, "cifar10": 0.05, "scenes": 0.05}
CONF = Path(__file__).parents[3] / "conf"


def load(stick):
    """The real data of a stick; None where their files are not."""
    if stick == "digits":
        return Digits(sample_shape=[1, 8, 8], num_train=None).load()
    if stick == "scenes":
        node = OmegaConf.load(CONF / "data" / "scenes.yaml")
        node.pop("defaults")  # the stick and the judge that come with scenes
        return instantiate(OmegaConf.merge(node, {"seed": 0}), _convert_="object").load()
    source, shape = {"mnist": (MNIST, [1, 28, 28]), "cifar10": (CIFAR10, [3, 32, 32])}[stick]
    root = Path(os.environ.get("COLLAPSAR_DATA", "nowhere"))
    if not all((root / source.folder / name).is_file() for name in source.checksums):
        return None
    return source(sample_shape=shape, num_train=None, root=str(root)).load()


def fit(stick, real):
    settings = StickSpace(stick=stick, stick_version=read_stick(path_of(stick)).version, chunk_size=64)
    return settings.fit(real, device=torch.device("cpu"), cache_dir=Path("unused"))


def path_of(stick):
    return FOLDER / f"{stick}.safetensors"


def corrupted(values, stick):
    """The images with noise, and blurred."""
    images = to_model_range(values)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return {"noisy": quantise(images + noise * NOISE_STD[stick]), "blurred": quantise(binomial_blur(images))}


def unseen_by(stick, real):
    """Real images that the stick did not see; of scenes it saw others."""
    return (real.train if stick == "scenes" else real.stick_split.unseen)[:NUM_IMAGES]


def sample_sets(stick, real):
    unseen = unseen_by(stick, real)
    few = unseen.values[unseen.labels < real.num_classes // 2]
    return {"unseen": unseen.values, **corrupted(unseen.values, stick), "five_classes": few}


def measure(stick, real):
    space = fit(stick, real)
    reference = space.extract(real.test.values[:NUM_IMAGES])
    values = {}
    for name, samples in sample_sets(stick, real).items():
        sides = {"real": reference, "synthetic": space.extract(samples)}
        scores = neighbour_scores(**sides)
        values[name] = {"fid": frechet_distance(**sides)} | {
            key: getattr(scores, key) for key in ("precision", "recall", "density", "coverage")
        }
    return {"content_hash": space.content_hash, "values": values}


if __name__ == "__main__":
    measured = {stick: measure(stick, load(stick)) for stick in STICKS}
    VALUES.write_text(json.dumps(measured, indent=1) + "\n")
