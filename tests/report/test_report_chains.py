"""Run folders are read as they are: whole, unfinished, failed or cut short."""

import json

import pytest

from collapsar.foundations.errors import UsageError
from collapsar.report.exports import tidy
from collapsar.study.arms import group_arms
from collapsar.study.chains import read_chains


def test_every_run_below_a_folder_is_found_whether_finished_or_not(sweep):
    chains = read_chains([sweep])
    assert len(chains) == 15
    assert sum(bool(chain.problem) for chain in chains) == 3


def test_a_run_is_read_once_though_named_twice(sweep):
    assert len(read_chains([sweep, sweep / "vae-replace-0"])) == 15


def test_problems_say_how_far_a_chain_came_and_why_it_stopped(sweep):
    problems = {chain.label: chain.problem for chain in read_chains([sweep]) if chain.problem}
    assert problems == {
        "gan-replace-3": "failed after 2 of 8 generations: loss is NaN at generation 2, epoch 1, step 17",
        "vae-replace-3": "unfinished after 4 of 8 generations",
        "vae-replace-4": "unfinished after 0 of 8 generations",
    }


@pytest.mark.parametrize(
    ("status", "num_finished", "problem"),
    [
        ({"state": "finished"}, 8, ""),
        ({"state": "running"}, 8, ""),
        ({"state": "running"}, 3, "running, or killed after 3 of 8 generations"),
        ({"state": "finished"}, 3, "unfinished after 3 of 8 generations"),
        ({"state": "stopped", "message": "recall fell"}, 3, "stopped after 3 of 8 generations: recall fell"),
        ({"state": "stopped", "message": None}, 8, "stopped after 8 of 8 generations"),
        ({"state": 7, "message": ["x"]}, 3, "7 after 3 of 8 generations: ['x']"),
    ],
)
def test_any_state_is_shown_with_its_message(status, num_finished, problem, make_run):
    run = make_run(num_finished=num_finished)
    (run / "status.json").write_text(json.dumps(status))
    assert read_chains([run])[0].problem == problem


def test_composition_files_and_hidden_folders_are_no_runs(make_run, tmp_path):
    run = make_run("runs/one")
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text((run / "config.yaml").read_text())
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [data: digits]\nnum_generations: 8\n")
    assert [chain.folder for chain in read_chains([tmp_path])] == [run]


@pytest.mark.parametrize(
    "name", ["wandb", "wandb-ablation", "generation_", "generation_000", "generation_gap", ".x", ".hydra", "a b", "-m"]
)
def test_a_study_is_found_whatever_its_name(name, make_run, tmp_path):
    runs = [make_run(f"outputs/{name}/{seed}", seed=seed, with_images=False) for seed in (0, 1)]
    nested = make_run(f"outputs/{name}/wandb_more/generation_x/run", seed=2, with_images=False)
    for asked in (tmp_path, tmp_path / "outputs", tmp_path / "outputs" / name):
        assert {chain.folder for chain in read_chains([asked])} == {*runs, nested}


def test_what_a_run_folder_holds_is_no_run(make_run, tmp_path):
    run = make_run("runs/one")
    config = (run / "config.yaml").read_text()
    for inner in ("generation_000", "generation_1000", "wandb/run-20260101_000000-abc/files", ".hydra", ".tmp/x"):
        (run / inner).mkdir(parents=True, exist_ok=True)
        (run / inner / "config.yaml").write_text(config)
    assert [chain.folder for chain in read_chains([tmp_path])] == [run]


def test_a_config_that_wandb_wrote_is_no_run(make_run, tmp_path):
    run = make_run("runs/one")
    files = tmp_path / "wandb" / "run-20260101_000000-abc" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("num_generations:\n    value: 8\nwandb_version: 1\n")
    assert [chain.folder for chain in read_chains([tmp_path])] == [run]


def test_links_are_followed_and_no_run_is_read_twice(make_run, tmp_path):
    run = make_run("elsewhere/study/one", with_images=False)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "linked").symlink_to(tmp_path / "elsewhere" / "study")
    (tmp_path / "elsewhere" / "study" / "back").symlink_to(tmp_path)
    (chain,) = read_chains([tmp_path / "outputs"])
    assert chain.folder.resolve() == run
    assert len(read_chains([tmp_path])) == len(read_chains([tmp_path, run])) == 1


def test_half_written_last_line_is_left_out(make_run):
    run = make_run(num_finished=5)
    with (run / "records.jsonl").open("a") as file:
        file.write('{"generation": 5, "seed": 0, "metr')
    chain = read_chains([run])[0]
    assert [record.generation for record in chain.records] == [0, 1, 2, 3, 4]
    assert chain.problem == "unfinished after 5 of 8 generations"


def test_broken_line_before_the_last_names_file_and_line(make_run):
    run = make_run()
    lines = (run / "records.jsonl").read_text().splitlines()
    (run / "records.jsonl").write_text("\n".join([lines[0], "{oops", *lines[2:]]))
    with pytest.raises(UsageError, match=r"records.jsonl, line 2: not a generation record"):
        read_chains([run])


def test_missing_folder_and_folder_without_runs_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_chains([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="no run below"):
        read_chains([tmp_path])


def test_unreadable_status_is_no_obstacle(make_run):
    run = make_run()
    (run / "status.json").write_text('{"state": "fin')
    assert read_chains([run])[0].problem == ""


def test_tidy_table_has_every_metric_of_every_record_with_all_digits(make_run):
    run = make_run()
    chain = read_chains([run])[0]
    table = tidy(group_arms([chain])).set_index(["generation", "metric"])["value"]
    for line in (run / "records.jsonl").read_text().splitlines():
        content = json.loads(line)
        for key, value in content["metrics"].items():
            assert table.loc[content["generation"], key] == value
    assert not table.index.duplicated().any()
