"""A score of a stored generation against its own data is its record, to the last digit."""

import json

import numpy as np
import pytest

from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import file_with_checksum
from collapsar.scoring import score
from tiny_chains import build_and_run
from tiny_tables import people

WITH_POOL = (
    "regime=mix",
    "num_generations=3",
    "+cause=few_samples",
    "evaluation.metrics=[frechet,frechet_debiased,kernel,support,recall_by_class,novelty,classes,diversity,downstream]",
    "evaluation.downstream.budget.num_steps=5",
    "evaluation.num_batches=3",
    "evaluation.num_training=150",
)


@pytest.fixture(scope="module")
def chain(run_chain, tmp_path_factory):
    """A run folder of three generations, and their records."""
    folder = tmp_path_factory.mktemp("runs") / "chain"
    return folder, run_chain(folder, *WITH_POOL)


def test_every_generation_scores_as_recorded(chain):
    folder, records = chain
    found = score(folder, "digits", has_all_generations=True)
    assert [each.metrics for each in found.sets] == [record.metrics for record in records]
    assert any(key.startswith("pool_") for key in records[-1].metrics)


def test_a_run_folder_gives_its_last_generation_and_a_generations_folder_that_one(chain):
    folder, records = chain
    assert score(str(folder), "digits").metrics == records[-1].metrics
    assert score(folder / "generation_001", "digits").metrics == records[1].metrics
    assert score(folder, "digits").sets[0].name == "chain/generation_002"


def test_settings_of_ones_own_take_the_place_of_the_chains(chain):
    folder, _ = chain
    found = score(folder, "digits", settings=["evaluation.num_neighbours=3"])
    assert "vendi" in found.metrics
    assert found.sets[0].scores.num_synthetic == 200


def test_a_chain_is_measured_against_ones_own_samples_and_against_another_generation(chain, images, tmp_path):
    folder, _ = chain
    against_own = score(folder, images[0][:400])
    assert against_own.sets[0].yardstick.num_real == 400
    assert against_own.sets[0].spaces == "pca (64 features)"
    against_itself = score(folder, folder / "generation_002")
    assert against_itself.metrics["recall"] == 1.0
    assert score(folder / "generation_002", folder).metrics == against_itself.metrics
    copied = tmp_path / "generation_009"
    copied.mkdir()
    for name in ("samples.npz", "grid.png"):
        (copied / name).write_bytes((folder / "generation_002" / name).read_bytes())
    assert score(copied, folder).metrics == against_itself.metrics


def test_samples_that_the_folder_did_not_keep_are_said(run_chain, tmp_path, caplog):
    run_chain(tmp_path / "run", "num_synthetic=80", "num_generations=1")
    score(tmp_path / "run", "digits")
    assert "its record measured 100 samples and its file holds 80" in caplog.text


def test_a_damaged_file_of_samples_is_refused(chain, tmp_path):
    folder, _ = chain
    file = folder / "generation_000" / "samples.npz"
    before = file.read_bytes()
    try:
        file.write_bytes(before[:200] + bytes([before[200] ^ 1]) + before[201:])
        with pytest.raises(UsageError, match=r"samples\.npz cannot be read as \.npz: it is damaged"):
            score(folder / "generation_000", "digits")
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("target", ["os.system", "collapsar.foundations.commit.subprocess.Popen", "mine.Digits"])
def test_settings_of_somebody_else_make_no_foreign_class(chain, tmp_path, target):
    folder, _ = chain
    copy = tmp_path / "copy"
    (copy / "generation_002").mkdir(parents=True)
    for name in ("records.jsonl", "generation_002/samples.npz"):
        (copy / name).write_bytes((folder / name).read_bytes())
    text = (folder / "config.yaml").read_text().replace("collapsar.data.sources.real.Digits", target)
    body = text[: text.index("# checksum")]
    (copy / "config.yaml").write_text(file_with_checksum(body))
    with pytest.raises(UsageError, match="does not come with this package"):
        score(copy, "digits")


def test_a_run_folder_is_not_written_to(chain):
    folder, _ = chain
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    score(folder, "digits")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_rows_of_a_table_score_as_recorded(tiny, tmp_path):
    people(400).to_csv(tmp_path / "people.csv", index=False)
    of_a_table = (
        *(override for override in tiny if not override.startswith("judge.")),
        *(
            "tracking=none",
            "data=table",
            f"data.path={tmp_path}/people.csv",
            "data.target=ill",
            "data.identifiers=[id]",
        ),
        *("model=table_vae", "evaluation.num_samples=60", "evaluation.metrics=[frechet,support,novelty,classes]"),
    )
    records = build_and_run(tmp_path / "run", *of_a_table)
    assert score(tmp_path / "run", str(tmp_path / "people.csv")).metrics == records[-1].metrics
    assert score(tmp_path / "run", "table").metrics == records[-1].metrics


def test_several_chains_are_one_table(chain, run_chain, tmp_path):
    folder, records = chain
    others = run_chain(tmp_path / "other", "seed=1")
    found = score([folder, tmp_path / "other"], "digits")
    assert list(found.metrics.values()) == [records[-1].metrics, others[-1].metrics]
    assert json.loads(found.to_json())["sets"][1]["num_synthetic"] == others[-1].num_evaluated
    assert not np.isnan(found.to_frame()["value"]).any()
