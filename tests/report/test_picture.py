"""The README's pictures hold what the records say: one small SVG that needs nothing else, and one that moves."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from planted_runs import write_run

from collapsar.study.chains import read_chains
from moving_picture import COLUMNS, FED_WITH, GAP, GRID_WIDTH, MARGIN, REAL_TOP, SIDE, TOP
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


def test_the_moving_picture_shows_every_generation_of_both_regimes_above_real_images(study, tmp_path):
    output = tmp_path / "github" / "moving.webp"
    assert main([str(study), str(output)]) == 0
    assert output.stat().st_size < 1_000_000
    with Image.open(output) as moving:
        assert (moving.n_frames, moving.info["loop"]) == (8, 0)
        for generation in range(8):
            moving.seek(generation)
            pixels = np.asarray(moving.convert("L"))
            for index, regime in enumerate(FED_WITH):
                left = MARGIN + index * (GRID_WIDTH + 44)
                with np.load(study / f"gan-{regime}" / f"generation_{generation:03d}" / "samples.npz") as arrays:
                    assert np.array_equal(cells(pixels, left, TOP, num_rows=3), arrays["strip"][:, 0])
                with np.load(study / "gan-replace" / "generation_000" / "samples.npz") as arrays:
                    real = arrays["real"][index * COLUMNS : (index + 1) * COLUMNS, 0]
                    assert np.array_equal(cells(pixels, left, REAL_TOP, num_rows=1), real)


def cells(pixels, left, top, *, num_rows):
    """The images of a grid, a pixel from the middle of each of their enlarged pixels."""
    places = [(row, column) for row in range(num_rows) for column in range(COLUMNS)]
    middles = np.array([int((pixel + 0.5) * SIDE / 8) for pixel in range(8)])
    return np.stack(
        [
            pixels[np.ix_(top + row * (SIDE + GAP) + middles, left + column * (SIDE + GAP) + middles)]
            for row, column in places
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["picture.png"], "FILE must be an SVG without --dark, or a WebP: got picture.png"),
        (["picture.svg", "--dark"], "FILE must be an SVG without --dark, or a WebP: got picture.svg"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_line_and_exit_code_2(study, capsys, arguments, said):
    assert main([str(study), *arguments]) == 2
    assert capsys.readouterr().err == f"scripts/picture: {said}\n"


def test_a_moving_picture_needs_images_of_both_regimes(make_run, tmp_path, capsys):
    make_run("runs/replace")
    assert main([str(tmp_path / "runs"), str(tmp_path / "a.webp")]) == 2
    make_run("runs/accumulate", regime="accumulate", with_images=False)
    assert main([str(tmp_path / "runs"), str(tmp_path / "a.webp")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "scripts/picture: the picture needs a chain under accumulate"
    assert second.startswith("scripts/picture: the picture needs chains with stored images: ")
