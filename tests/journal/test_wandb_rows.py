"""What W&B is told of a chain: steps add up, and a late generation costs no more than an early one."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from collapsar.foundations.samples import Samples
from collapsar.journal import wandb_rows
from collapsar.journal.rows import TRAINING_AXIS
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import Tracking
from collapsar.journal.wandb_rows import WandbRows, moving_picture, spaced
from test_records import RECORD


def kept(num_generations, *, max_rows):
    rows = {}
    for generation in range(num_generations):
        rows = spaced({**rows, generation: generation}, max_rows=max_rows)
    return list(rows.values())


@given(num_generations=st.integers(1, 300), max_rows=st.integers(1, 20))
def test_spaced_rows_are_bounded_evenly_spaced_and_end_with_the_last(num_generations, max_rows):
    *spaced, last = kept(num_generations, max_rows=max_rows)
    assert last == num_generations - 1
    assert len(spaced) <= max_rows
    assert len({after - before for before, after in pairwise(spaced)}) <= 1
    assert (spaced or [last])[0] == 0


def test_few_rows_are_all_kept():
    assert kept(20, max_rows=20) == list(range(20))


def test_rows_thin_out_by_doubling():
    assert kept(11, max_rows=4) == [0, 4, 8, 10]


class NotedRows(Tracking):
    """A mirror that notes its rows; `curves` holds the readings of each finished generation."""

    _is_on = True

    def __init__(self, curves):
        self.rows, self.store = [], RunFolder(Path("nowhere"))
        self.store.curve = curves.__getitem__

    def begin(self, store, *, title, config):
        return True

    def write_reading(self, row):
        self.rows.append(row)

    def finish_generation(self, generation, *, num_steps=None):
        training = {} if num_steps is None else {"steps": float(num_steps)}
        self.log(self.store, replace(RECORD, generation=generation, training=training))

    @property
    def steps(self):
        return [row[TRAINING_AXIS] for row in self.rows]


def curve(*steps):
    return [{"step": step, "loss": 1.0} for step in steps]


def test_steps_add_up_where_generations_differ_in_steps():
    mirror = NotedRows([curve(5, 10), curve(5), curve(5, 10, 15)])
    for generation, num_steps in enumerate([10, 5, 15]):
        mirror.finish_generation(generation, num_steps=num_steps)
    assert mirror.steps == [5, 10, 15, 20, 25, 30]
    assert [row["steps/generation"] for row in mirror.rows] == [0, 0, 1, 2, 2, 2]


def test_a_generation_without_steps_moves_nothing():
    mirror = NotedRows([[], [{"step": 5, "loss": 0.5}]])
    mirror.finish_generation(0)
    assert mirror.rows == []
    mirror.finish_generation(1, num_steps=5)
    (losses,) = mirror.rows
    assert (losses[TRAINING_AXIS], losses["training/loss"]) == (5, 0.5)


def test_a_reading_that_was_live_is_no_row_again_when_its_generation_is_finished():
    mirror = NotedRows([curve(20, 40, 45)])
    for reading in curve(20, 40):
        mirror.trained(0, reading)
    mirror.finish_generation(0, num_steps=45)
    assert mirror.steps == [20, 40, 45]
    mirror.trained(1, curve(20)[0])
    assert mirror.steps[-1] == 65


@pytest.fixture
def store(tmp_path):
    """Six generations with strips of two images and recall by class, one of which was once not measured."""
    (tmp_path / "run").mkdir()
    folder = RunFolder(tmp_path / "run")
    for generation in range(6):
        folder.write_generation(
            record_of(generation),
            samples=Samples(torch.zeros(4, 1, 8, 8, dtype=torch.uint8)),
            strip=torch.full((2, 1, 8, 8), generation, dtype=torch.uint8),
            save_model=lambda path: path.write_bytes(b""),
        )
    return folder


def record_of(generation):
    classes = {"recall_class_0": 0.5, "recall_class_1": generation / 10}
    if generation == 2:
        del classes["recall_class_1"]
    return replace(RECORD, generation=generation, metrics=classes)


def test_each_strip_is_read_once(store, monkeypatch):
    original, read = RunFolder.strip, []
    monkeypatch.setattr(
        RunFolder, "strip", lambda self, generation: read.append(generation) or original(self, generation)
    )
    monkeypatch.setattr(RunFolder, "records", None)  # nor are records read
    rows = WandbRows()
    for generation in range(6):
        rows.generation_row(record_of(generation), store)
    assert read == [0, 1, 2, 3, 4, 5]


def test_the_film_strip_and_the_table_of_classes_stay_bounded(store, monkeypatch):
    monkeypatch.setattr(wandb_rows, "MAX_ROWS", 2)
    rows = WandbRows()
    for generation in range(6):
        row = rows.generation_row(record_of(generation), store)
    last = rows.last_row()
    assert [past[0] for past in last["tables/recall_by_class"].data] == [0, 4, 5]
    assert row["pictures/film_strip"].image.height == 3 * (row["pictures/strip"].image.height - 2) + 2


def test_a_class_recall_that_was_not_measured_is_an_empty_cell(store):
    rows = WandbRows()
    for generation in range(4):
        rows.generation_row(record_of(generation), store)
    table = rows.last_row()["tables/recall_by_class"]
    assert table.columns == ["generation", "recall_class_0", "recall_class_1"]
    assert table.data[2] == [2, 0.5, None]


def test_a_film_has_a_frame_for_each_generation_that_differs_from_the_others():
    strips = {generation: torch.full((12, 1, 8, 8), 60 * generation, dtype=torch.uint8) for generation in range(4)}
    film = Image.open(moving_picture(strips))
    assert (film.n_frames, film.info["loop"]) == (4, 0)
    film.seek(3)
    assert film.convert("L").getpixel((10, film.height - 10)) == pytest.approx(180, abs=2)


def test_a_chain_without_a_generation_has_no_last_row():
    assert WandbRows().last_row() == {}


def test_a_row_of_what_was_just_written_reads_no_samples(store, monkeypatch):
    monkeypatch.setattr(RunFolder, "_arrays", lambda *_: pytest.fail("samples.npz was opened"))
    row = WandbRows().generation_row(record_of(5), store)
    assert {"pictures/samples", "pictures/strip", "pictures/film_strip"} <= row.keys()
