"""Digits as files and arrays, and scores of them that take little time."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from collapsar.scoring import __main__ as command
from collapsar.scoring import score


@pytest.fixture(scope="session")
def images():
    """All 1,797 digits as uint8 [N, 8, 8], and their labels."""
    digits = load_digits()
    return (digits.images * (255 / 16)).round().astype(np.uint8), digits.target


@pytest.fixture(scope="session")
def in_cache(tmp_path_factory):
    """Settings that keep fitted spaces in a folder of the tests, on the CPU."""
    return [f"evaluation.cache_folder={tmp_path_factory.mktemp('spaces')}", "evaluation.accelerator=cpu"]


@pytest.fixture(scope="session")
def quick(in_cache):
    """`score` with few metrics."""

    def call(synthetic, real, *, settings=(), **options):
        return score(synthetic, real, evaluation="quick", settings=[*in_cache, *settings], **options)

    return call


@pytest.fixture
def shell(capsys, in_cache):
    """`shell("gen", "real")` runs the command with few metrics: exit code, stdout, stderr."""

    def call(*arguments):
        settings = [word for setting in in_cache for word in ("--set", setting)]
        capsys.readouterr()
        code = command.main(["--evaluation", "quick", *settings, *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def write_images(folder, images, *, labels=None, suffix="png"):
    """A file for each image; in a subfolder for each class if there are labels."""
    for place, image in enumerate(images):
        below = folder if labels is None else folder / str(labels[place])
        below.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(below / f"{place}.{suffix}")
    return folder


@pytest.fixture
def write(tmp_path):
    """`write("name", images, labels=...)` writes a folder of images."""
    return lambda name, images, **options: write_images(tmp_path / name, images, **options)
