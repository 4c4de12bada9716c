"""A dry run says what chains would take, from a timed generation or earlier records, and trains none of them."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from collapsar.config import forecast
from collapsar.config.composition import settings
from collapsar.config.forecast import Forecast, Generation, summary
from collapsar.foundations.errors import UsageError
from collapsar.jobs import job
from tiny_chains import compose_settings


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(forecast, "known", {})


@pytest.fixture
def told(monkeypatch):
    """The forecasts that commands make, before they are summed up."""
    kept = []
    original = forecast.check_disk
    monkeypatch.setattr(
        forecast, "check_disk", lambda chains, outputs: kept.extend(chains) or original(chains, outputs)
    )
    return kept


def test_a_dry_run_times_one_generation_for_all_chains_that_are_alike_and_leaves_no_folder(collapsar, tiny, told):
    code, _ = collapsar("-m", *tiny, "tracking=none", "seed=0,1", "regime=replace,accumulate", "dry_run=true")
    assert code == 0
    assert [one.num_generations for one in told] == [2] * 4
    assert {one.generation.known_from for one in told} == {"a timed generation"}
    assert len({one.generation.seconds for one in told}) == 1
    assert not [path for path in Path("outputs").rglob("*") if path.is_dir() and path.name != "study"]


def test_a_dry_run_takes_time_and_disk_from_records_of_a_chain_that_is_alike(collapsar, tiny, told):
    collapsar(*tiny, "tracking=none", "name=earlier")
    (earlier,) = Path("outputs/earlier").iterdir()
    collapsar(*tiny, "tracking=none", "name=later", "seed=5", "regime=accumulate", "dry_run=true")
    (one,) = told
    assert one.generation.known_from == f"earlier/{earlier.name}"
    assert one.num_bytes == pytest.approx(forecast.size_of(earlier), abs=2)


def test_chains_beside_that_cannot_be_read_stop_no_chain(collapsar, tiny, tmp_path):
    collapsar(*tiny, "tracking=none", "name=earlier", "num_generations=1")
    (earlier,) = Path("outputs/earlier").iterdir()
    Path("outputs/earlier/gone").symlink_to(tmp_path / "nowhere")
    for name, file in (("lost", "config.yaml"), ("damaged", "records.jsonl")):
        shutil.copytree(earlier, f"outputs/{name}/chain")
        Path(f"outputs/{name}/chain/{file}").unlink()
    Path("outputs/damaged/chain/records.jsonl").write_text("{not json\n")
    Path("outputs/linked/chain").mkdir(parents=True)
    Path("outputs/linked/chain/records.jsonl").symlink_to(tmp_path / "nowhere")
    code, stderr = collapsar(*tiny, "tracking=none", "name=later", "num_generations=1", "seed=5")
    assert code == 0, stderr


def test_generations_that_are_finished_are_not_counted(collapsar, tiny, told):
    collapsar(*tiny, "tracking=none", "num_generations=1")
    collapsar(*tiny, "tracking=none", "num_generations=3", "dry_run=true")
    assert [one.num_generations for one in told] == [2]


def test_a_disk_that_does_not_suffice_is_refused(collapsar, tiny, monkeypatch):
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    code, stderr = collapsar(*tiny, "tracking=none", "dry_run=true")
    assert code == 2
    assert "GB free: make room, choose fewer generations or seeds" in stderr


def test_the_free_bytes_are_those_of_the_disk_that_the_folder_will_be_on(tmp_path):
    assert forecast.check_disk([], tmp_path / "not" / "there") > 0


def test_all_chains_are_one_line():
    generation = Generation(seconds=90.0, num_bytes=10**9, known_from="x")
    chains = [Forecast(chain="a", num_generations=4, generation=generation)] * 2
    assert summary(chains, free_bytes=10**10) == (
        "dry run: 2 chains, 8 generations to go, 12 min one after another, 8.00 GB of 10.0 GB that are free"
    )


def test_a_disk_too_small_is_named_with_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    generation = Generation(seconds=1.0, num_bytes=2 * 10**9, known_from="x")
    with pytest.raises(UsageError, match=r"the chains need 2.00 GB and .* has 1.00 GB free"):
        forecast.check_disk([Forecast(chain="a", num_generations=1, generation=generation)], tmp_path)


def test_a_dry_run_of_a_comparison_says_what_it_can_find(tmp_path, monkeypatch, caplog):
    arms = [compose_settings("tracking=none", *own) for own in ((), ("model.beta=2",), ("batch_size=32",))]
    generation = Generation(seconds=1.0, num_bytes=1, known_from="a timed generation")
    chains = [
        Forecast(chain="", num_generations=2, generation=generation, config=settings(arm) | {"seed": seed})
        for arm in arms
        for seed in range(5)
    ]
    monkeypatch.setattr(job, "dry_chains", chains)
    with caplog.at_level("INFO"):
        job.sum_up_dry_run(tmp_path)
    assert "dry run: with 5 seeds and 2 arms an effect of " in caplog.text
