"""What leads the page: moving film strips, the sentence, small curves; then losses, class areas, neighbours, foot."""

import base64
import html
import io
import json
import os
import re

import numpy as np
import pytest
import yaml
from PIL import Image
from planted_comparison import edit_records

from collapsar.report.page import render
from collapsar.report.sections import SECTIONS
from collapsar.report.sections.films import COLUMNS, GAP, ROWS, pairs
from collapsar.report.sections.losses import losses
from collapsar.study.chains import read_chains
from collapsar.study.study import read_study

SIDE = 8  # pixels of a digit


@pytest.fixture
def two_arms(make_run, tmp_path):
    for regime in ("replace", "accumulate"):
        for seed in range(2):
            make_run(f"runs/{regime}-{seed}", regime=regime, seed=seed)
    return tmp_path / "runs"


def section(page, name):
    return re.search(rf'<section id="{name}"(.*?)</section>', page, re.DOTALL)[1]


def pictures(content):
    """The gray values of each picture, without gaps: [row, column, height, width]."""
    found = []
    for encoded in re.findall(r'<img src="data:image/png;base64,([^"]+)"', content):
        values = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))[:, :, 0]
        cell = SIDE + GAP
        cells = values.reshape(values.shape[0] // cell, cell, values.shape[1] // cell, cell).swapaxes(1, 2)
        found.append(cells[:, :, :SIDE, :SIDE])
    return found


def stored(run, generation, name):
    with np.load(run / f"generation_{generation:03d}" / "samples.npz") as arrays:
        return arrays[name][:, 0]


def test_the_page_begins_with_the_arm_that_lost_most_and_the_one_that_kept_most_beside_real_images(two_arms):
    page = render(read_study([two_arms]))
    assert re.findall(r'<section id="([^"]+)"', page)[:3] == ["reels", "answer", "comparison"]
    reels = section(page, "reels")
    assert re.findall(r"<strong>(.*?)</strong>", reels) == ["replace", "accumulate", "Real images"]
    assert re.search(r"replace</strong> <span class=\"muted\">\s*lost most: \d\u202f% of recall left", reels)
    assert re.search(r"accumulate</strong> <span class=\"muted\">\s*kept most: \d\d\u202f% of recall left", reels)


def test_frames_of_a_reel_hold_the_stored_images_row_by_row(two_arms):
    replace, accumulate, real = pictures(section(render(read_study([two_arms])), "reels"))
    for run, reel in (("replace-0", replace), ("accumulate-0", accumulate)):
        assert reel.shape[:2] == (ROWS, 8 * COLUMNS)
        for generation in range(8):
            frame = reel[:, generation * COLUMNS : (generation + 1) * COLUMNS].reshape(-1, SIDE, SIDE)
            assert np.array_equal(frame, stored(two_arms / run, generation, "strip"))
    assert np.array_equal(real.reshape(-1, SIDE, SIDE), stored(two_arms / "replace-0", 0, "real"))


def test_a_lone_arm_has_one_reel_and_chains_without_images_have_none(make_run):
    one = section(render(read_study([make_run("one")])), "reels")
    assert one.count("data-generations") == 2  # the window's and the slider's
    assert "most:" not in one
    assert 'id="reels"' not in render(read_study([make_run("vectors", with_images=False)]))


def test_without_recall_the_first_and_the_last_arm_are_shown_and_nothing_is_said_of_losses(two_arms):
    for run in two_arms.iterdir():
        edit_records(run, lambda record: record["metrics"].pop("recall"))
    reels = section(render(read_study([two_arms])), "reels")
    assert "What the models of two arms draw" in reels
    assert not re.search("most:|lost|kept", reels)


def test_folders_from_before_real_images_were_stored_make_a_page(make_run):
    run = make_run()
    for path in run.glob("generation_*/samples.npz"):
        np.savez(path, samples=np.zeros((12, 1, 8, 8), np.uint8), strip=np.zeros((12, 1, 8, 8), np.uint8))
    page = render(read_study([run]))
    assert "Real images" not in section(page, "reels")
    assert 'id="nearest"' not in page


def test_the_answer_shows_recall_and_fid_of_each_arm_without_a_script(two_arms):
    drawn = re.findall(
        r'<svg viewBox="[^"]*" role="img" aria-label="([^"]*)">(.*?)</svg>', render(read_study([two_arms])), re.DOTALL
    )
    curves = {label.partition(" ")[0]: svg for label, svg in drawn if " by generation: " in label}
    assert list(curves) == ["Recall", "FID"]
    for key, svg in zip(("recall", "fid"), curves.values(), strict=True):
        assert svg.count('<polyline class="line"') == 2
        last = [chain.records[-1].metrics[key] for chain in read_chains([two_arms])]
        for mean in (np.mean(last[:2]), np.mean(last[2:])):
            assert f">{mean:.3f}<" in svg if mean < 1 else f">{mean:.1f}<" in svg


def test_of_many_arms_the_two_that_lead_have_a_colour(make_run, tmp_path):
    for number in range(9):
        make_run(f"runs/{number}", rate=0.05 + 0.05 * number, num_generations=3, settings={"lag": number})
    answer = section(render(read_study([tmp_path / "runs"])), "answer")
    assert answer.count('<polyline class="line"') == 2 * 2
    assert answer.count('<polyline class="line pale"') == 2 * 7


def test_contents_lead_to_every_section(two_arms):
    page = render(read_study([two_arms]))
    links = re.findall(r'<li><a href="#([^"]+)">', page)
    assert links == re.findall(r'<section id="([^"]+)"', page)
    titles = {known.name: known.title for known in SECTIONS}
    assert re.findall(r'<li><a href="#[^"]+">(.*?)</a>', page) == [html.escape(titles[name]) for name in links]


def test_the_foot_names_commit_date_hashes_and_command(two_arms):
    for run in two_arms.iterdir():
        (run / "versions.json").write_text(json.dumps({"commit": "a1b2c3", "torch": "2.0"}))
        (run / ".hydra").mkdir()
        regime, _, seed = run.name.partition("-")
        (run / ".hydra" / "overrides.yaml").write_text(
            yaml.safe_dump(["data=digits", f"regime={regime}", f"seed={seed}"])
        )
        os.utime(run / "records.jsonl", (1e9, 1e9))
    study = read_study([two_arms])
    foot = re.search(r"<footer.*</footer>", render(study), re.DOTALL)[0]
    assert dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", foot)) == {
        "Commit": "a1b2c3",
        "Last generation": "2001-09-09 01:46 UTC",
        "Records": f"{study.records_hash} as stored, {study.results_hash} without times, memory and machine",
        "Command": "collapsar -m data=digits regime=accumulate,replace seed=0,1",
    }


def test_losses_of_every_generation_stand_in_their_order(make_run):
    run = make_run(num_generations=4)
    found = losses(read_chains([run])[0])
    assert [curve["name"] for curve in found.curves] == ["loss", "kl"]
    assert [generation for generation, _ in found.starts] == [0, 1, 2, 3]
    loss = found.curves[0]
    assert len(loss["lines"]) == 4
    stored_values = json.loads((run / "generation_003" / "curve.json").read_text())
    assert loss["highest"] == max(reading["loss"] for reading in stored_values[1:])  # without the first
    places = [float(point.partition(",")[0]) for line in loss["lines"] for point in line.split()]
    assert places == sorted(places)
    heights = [float(point.partition(",")[2]) for point in loss["lines"][0].split()]
    assert heights == sorted(heights)  # a loss that falls goes down


@pytest.mark.parametrize(
    "content",
    [
        "[",
        "{}",
        '[{"step": 0}]',
        '[{"loss": 1.0}]',
        '[{"step": 1, "loss": NaN}]',
        f'[{{"step": 1, "loss": {10**400}}}]',
        "[[1]]",
    ],
)
def test_losses_that_cannot_be_read_are_left_out(make_run, content):
    run = make_run(num_generations=1)
    (run / "generation_000" / "curve.json").write_text(content)
    assert losses(read_chains([run])[0]) is None
    assert 'id="losses"' not in render(read_study([run]))


def test_late_samples_stand_above_their_nearest_real_images(make_run):
    run = make_run()
    (found,) = pictures(section(render(read_study([run])), "nearest"))
    assert np.array_equal(found[0], stored(run, 7, "samples")[:10])
    assert np.array_equal(found[1], stored(run, 7, "nearest")[:10])


def test_images_of_another_shape_have_no_neighbours(make_run):
    run = make_run()
    path = run / "generation_007" / "samples.npz"
    np.savez(path, samples=np.zeros((12, 3, 8, 8), np.uint8), nearest=np.zeros((12, 1, 8, 8), np.uint8))
    assert pairs(read_chains([run])[0]) is None


def test_the_height_of_a_band_is_the_share_of_its_class(make_run):
    run = make_run(num_generations=2)
    shares = [{"real": [0.4, 0.3, 0.3], "synthetic": own} for own in ([0.2, 0.5, 0.3], [0.1, 0.9, 0.0])]
    edit_records(run, lambda record: record.update(class_shares=shares[record["generation"]]))
    drawing = section(render(read_study([run])), "classes").split('<svg class="areas"')[1].partition("</svg>")[0]
    bands = re.findall(r'<polygon class="drawn" points="([^"]+)"', drawing)
    assert len(bands) == 3
    for index, band in enumerate(bands):
        places, heights = zip(*(map(float, point.split(",")) for point in band.split()), strict=True)
        assert places == (44.0, 420.0, 420.0, 44.0)
        assert heights[3] - heights[0] == pytest.approx(190 * shares[0]["synthetic"][index], abs=0.11)
        assert heights[2] - heights[1] == pytest.approx(190 * shares[1]["synthetic"][index], abs=0.11)
    labels = re.findall(r'<text x="(-?\d+)" y="([\d.]+)" text-anchor="(?:end|start)">(\d)</text>', drawing)
    assert [(x, name) for x, _, name in labels] == [("-5", "0"), ("425", "0"), ("-5", "1"), ("425", "1"), ("-5", "2")]
    assert float(labels[3][1]) == pytest.approx(190 * 0.55 + 4)  # the middle of its band
    assert re.findall(r'<text x="([\d.]+)" y="206" text-anchor="middle">(\d)<', drawing) == [
        ("44.0", "0"),
        ("420.0", "1"),
    ]


def test_classes_are_areas_and_numbers(two_arms):
    classes = section(render(read_study([two_arms])), "classes")
    assert classes.count('<svg class="areas"') == 4
    assert classes.count("<polygon") == 4 * 10 * 2
    assert classes.count('<table class="heat"') == 4
