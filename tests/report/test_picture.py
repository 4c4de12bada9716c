"""The README's picture holds what the records say, as one small SVG that needs nothing else."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from planted_runs import write_run

from collapsar.study.chains import read_chains
from picture import INKS, main

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def study(tmp_path):
    for model in ("vae", "gan"):
        for regime in ("replace", "accumulate"):
            write_run(tmp_path / "study" / f"{model}-{regime}", model=model, regime=regime)
    return tmp_path / "study"


@pytest.fixture
def picture(study, tmp_path):
    output = tmp_path / "github" / "picture.svg"
    assert main([str(study), str(output)]) == 0
    return output


def texts(picture):
    return ["".join(element.itertext()) for element in ElementTree.parse(picture).iter(f"{SVG}text")]


def test_picture_is_one_small_svg_that_fetches_nothing(picture):
    assert picture.stat().st_size < 300_000
    assert not re.search(r"href|url\(|<script|<image", picture.read_text())


def test_curves_end_at_the_last_recall_of_each_arm(picture, study):
    found = texts(picture)
    for chain in read_chains([study]):
        assert f"{chain.records[-1].metrics['recall']:.2f} {chain.label.replace('-', ', ')}" in found


def test_labels_at_the_ends_of_curves_do_not_overlap(picture):
    labels = [
        element for element in ElementTree.parse(picture).iter(f"{SVG}text") if element.find(f"{SVG}tspan") is not None
    ]
    heights = sorted(float(label.get("y")) for label in labels)
    assert len(heights) == 4
    assert min(np.diff(heights)) >= 14  # the font's size


def test_strips_say_how_many_classes_were_dropped(picture, study):
    chains = {chain.label: chain for chain in read_chains([study])}
    for label in ("vae-replace", "vae-accumulate"):
        dropped = chains[label].records[-1].metrics["classes_dropped"]
        assert f"{dropped:.0f} of 10 classes dropped" in texts(picture)


def test_ink_is_the_images_to_a_sixteenth(picture, study):
    strip = next(group for group in ElementTree.parse(picture).iter(f"{SVG}g") if "scale" in group.get("transform", ""))
    drawn = np.zeros((8 * 9, 8 * 9))
    for path in strip.iter(f"{SVG}path"):
        if path.get("class") == "ink":
            for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1", path.get("d")):
                drawn[int(y), int(x) : int(x) + int(width)] += float(path.get("fill-opacity"))
    for generation in range(8):
        images = np.load(study / "vae-replace" / f"generation_{generation:03d}" / "samples.npz")["strip"]
        for latent in range(8):
            cell = drawn[9 * latent : 9 * latent + 8, 9 * generation : 9 * generation + 8]
            assert np.abs(cell - images[latent, 0] / 255).max() <= 0.5 / INKS + 1e-9


def test_the_same_records_give_the_same_picture(picture, study, tmp_path):
    main([str(study), str(tmp_path / "again.svg")])
    assert (tmp_path / "again.svg").read_bytes() == picture.read_bytes()


def test_a_study_without_the_two_chains_is_one_line_and_exit_code_2(make_run, tmp_path, capsys):
    assert main([str(make_run()), str(tmp_path / "picture.svg")]) == 2
    assert capsys.readouterr().err == "scripts/picture: the picture needs a chain of vae under accumulate\n"
    assert not (tmp_path / "picture.svg").exists()
