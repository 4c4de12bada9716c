"""Hashes of records: equal runs are told by one, and stored files by the other."""

import json
import shutil

import pytest

from collapsar.foundations.files import line_with_checksum
from collapsar.study.provenance import VARYING
from collapsar.study.study import read_study
from tiny_chains import build_and_run

TINY = (
    *("data=gaussian", "data.num_train=20", "data.num_test=20", "data.num_reserve=0", "model=gaussian"),
    *("num_generations=2", "evaluation.num_batches=0", "tracking=none", "alarm=none"),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for seed in range(2):
        build_and_run(folder / f"seed{seed}", *TINY, f"seed={seed}")
    return folder


@pytest.fixture
def own_copy(study, tmp_path):
    """The study in another place, for a test that changes it."""
    return shutil.copytree(study, tmp_path / "copy")


def hashes(folder):
    found = read_study(folder)
    return found.records_hash, found.results_hash


def edit(run, change):
    """Changes the last record of a run, which has a checksum that is right."""
    path = run / "records.jsonl"
    *lines, last = path.read_text().splitlines()
    record = json.loads(last)
    del record["checksum"]
    change(record)
    path.write_text("".join(f"{line}\n" for line in [*lines, line_with_checksum(json.dumps(record))]))


def test_a_study_that_is_run_again_has_the_same_hash_of_results(study, tmp_path):
    for seed in (1, 0):
        build_and_run(tmp_path / f"seed{seed}", *TINY, f"seed={seed}")
    assert hashes(tmp_path)[1] == hashes(study)[1]


def test_a_copy_and_a_command_that_is_repeated_change_neither_hash(study, own_copy):
    build_and_run(own_copy / "seed0", *TINY, "seed=0")
    assert hashes(own_copy) == hashes(study)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda record: record["seconds"].update(sample=1e9), (False, True)),
        (lambda record: record.update(peak_memory_bytes=1, peak_device_memory_bytes=1), (False, True)),
        (lambda record: record.update(machine={"device": "cuda"}), (False, True)),
        (lambda record: record["metrics"].update(fid=1e9), (False, False)),
        (lambda record: record["pool"].update(size=21), (False, False)),
    ],
)
def test_one_changed_value_gives_another_hash_and_times_do_so_for_files_alone(study, own_copy, change, same):
    edit(own_copy / "seed1", change)
    assert tuple(own == of_study for own, of_study in zip(hashes(own_copy), hashes(study), strict=True)) == same


def test_results_of_another_folder_are_others(study, own_copy):
    (own_copy / "seed1").rename(own_copy / "seed7")
    assert [own == of_study for own, of_study in zip(hashes(own_copy), hashes(study), strict=True)] == [True, False]


def test_what_varies_stands_in_records(study):
    (chain, _) = read_study(study).chains
    assert all(hasattr(chain.records[0], name) for name in VARYING)
