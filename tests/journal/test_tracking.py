"""W&B offline, read back with W&B's own reader: a run for each chain, every metric against generation."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import wandb
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from test_alarm import lose_classes

from collapsar.foundations.errors import UsageError
from collapsar.journal import wandb_server, wandb_tracking
from collapsar.journal.profile import profile_chain
from collapsar.journal.rows import HEADLINE, panel_key
from collapsar.journal.store import RunFolder
from collapsar.journal.wandb_rows import WandbRows
from collapsar.journal.wandb_server import chosen_mode
from collapsar.journal.wandb_tracking import WandbTracking, chosen_generations, run_id
from collapsar.report.__main__ import main as report
from collapsar.training import train as train_module
from tiny_chains import build_and_run, compose_settings, fail_in
from wandb_files import read_wandb_file


def wandb_files(folder):
    return sorted(folder.rglob("offline-run-*/run-*.wandb"))


def every(path, field):
    return [record[field] for record in read_wandb_file(path) if record["type"] == field]


def history(path):
    """What was logged, one row a call."""
    return [row["item"] for row in every(path, "history")]


def generation_rows(path):
    return [row for row in history(path) if "generation" in row and "pool/size" in row]


def last_row(path):
    """What was logged when the chain ended."""
    return history(path)[-1]


def first(path, field):
    return every(path, field)[0]


def summary(path):
    return {key: value for update in every(path, "summary") for key, value in update["update"].items()}


def picture(path, key):
    """The last picture that was logged under a key."""
    return Image.open(path.parent / "files" / generation_rows(path)[-1][f"{key}.path"])


TRACKED = (
    "tracking.tags=[a,b]",
    "name=trial",
    "evaluation.metrics=[frechet,support,classes,recall_by_class]",
    "num_generations=3",
)


@pytest.fixture(scope="module")
def tracked(tiny, tmp_path_factory):
    """A tiny tracked chain, kept offline: its folder, the W&B file and its records."""
    folder = tmp_path_factory.mktemp("tracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        lose_classes(patch)
        records = build_and_run(folder, *tiny, *TRACKED)
    (path,) = wandb_files(folder)
    return folder, path, records


def test_every_metric_of_every_generation_is_logged_against_generation(tracked):
    _, path, records = tracked
    rows = generation_rows(path)
    assert [row["generation"] for row in rows] == [0, 1, 2]
    for record, logged in zip(records, rows, strict=True):
        drawn = {key: value for key, value in record.metrics.items() if not key.endswith("_floor")}
        assert {key: logged[panel_key(key)] for key in drawn} == drawn


def test_floors_stand_in_the_summary_and_those_of_the_headline_also_in_each_row(tracked):
    _, path, records = tracked
    floors = {panel_key(key): value for key, value in records[-1].metrics.items() if key.endswith("_floor")}
    assert {key: summary(path)[key] for key in floors} == floors
    drawn = {f"floors/{key}_floor" for key in HEADLINE if f"{key}_floor" in records[0].metrics}
    for row in generation_rows(path):
        assert {key for key in row if key.startswith("floors/")} == drawn


def test_only_headline_metrics_stand_before_the_sections(tracked):
    keys = {key.split(".")[0] for row in history(tracked[1]) for key in row if not key.startswith("_")}
    assert {key for key in keys if "/" not in key} == {"generation", *HEADLINE}
    assert {key.partition("/")[0] for key in keys if "/" in key} == {
        "by_class", "classes", "coverage", "floors", "pictures", "pool", "seconds", "spaces", "steps", "tables",
        "training",
    }  # fmt: skip


def test_every_metric_has_the_generation_and_every_loss_the_step_as_its_axis(tracked):
    _, path, records = tracked
    axes = {metric["name"]: metric.get("step_metric") for metric in every(path, "metric")}
    assert {axes[panel_key(key)] for key in records[0].metrics if not key.endswith("_floor")} == {"generation"}
    of_steps = {axis for key, axis in axes.items() if key.startswith(("training/", "steps/")) and axis}
    assert of_steps == {"training/total_step"}
    assert not any("*" in metric.get("glob_name", "") for metric in every(path, "metric"))


def test_a_row_holds_either_losses_or_metrics(tracked):
    rows = history(tracked[1])
    with_losses = [any(key.startswith("training/") for key in row) for row in rows]
    assert [("generation" in row) for row in rows] == [not has_losses for has_losses in with_losses]
    assert sum(with_losses) == 3


def test_losses_rate_and_gradient_norm_are_logged_before_their_generation_is_measured(tracked):
    rows = history(tracked[1])
    order = [row.get("steps/generation", f"scores of {row.get('generation')}") for row in rows]
    assert order == [0, "scores of 0", 1, "scores of 1", 2, "scores of 2", "scores of 2"]
    for row in rows[::2][:3]:
        assert row["steps/learning_rate"] > 0
        assert row["steps/gradient_norm"] > 0
        assert {"training/loss", "steps/epoch", "training/total_step"} <= row.keys()


def test_losses_are_logged_while_a_generation_trains(tiny, tmp_path, monkeypatch):
    """The first reading of 20 steps is in the W&B run when step 21 begins."""
    seen = []
    monkeypatch.setattr(
        "collapsar.journal.wandb_tracking.WandbTracking.write_reading", lambda self, row: seen.append(row)
    )
    monkeypatch.setattr(
        "collapsar.journal.wandb_tracking.WandbTracking.write_generation", lambda *_: seen.append("end")
    )
    build_and_run(tmp_path / "run", *tiny, "trainer.max_steps=45", "num_generations=1")
    assert [row if row == "end" else row["training/total_step"] for row in seen] == [20, 40, 45, "end"]


def test_pool_and_seconds_are_logged(tracked):
    _, path, records = tracked
    row = generation_rows(path)[1]
    assert row["pool/size"] == records[1].pool["size"]
    assert row["pool/real_fraction"] == 0.0
    assert row["seconds/train"] == records[1].seconds["train"]


def test_pictures_and_the_class_histogram_are_logged(tracked):
    keys = {key.split(".")[0] for key in generation_rows(tracked[1])[0]}
    assert {"pictures/samples", "pictures/strip", "pictures/film_strip", "classes/histogram"} <= keys


def test_what_shows_the_whole_chain_is_logged_once_when_it_ends(tracked):
    _, path, records = tracked
    at_the_end = {key.split(".")[0] for key in last_row(path) if not key.startswith("_")}
    assert at_the_end == {"generation", "pictures/film", "pictures/class_shares", "tables/recall_by_class"}
    tables = [artifact for artifact in every(path, "artifact") if artifact["type"] == "run_table"]
    assert len(tables) == 1
    with Image.open(path.parent / "files" / last_row(path)["pictures/film.path"]) as film:
        assert (film.format, film.n_frames) == ("GIF", len(records))


def test_pictures_have_captions_that_name_their_generation(tracked):
    row = generation_rows(tracked[1])[1]
    assert row["pictures/samples.caption"] == "the first samples of generation 1"
    assert row["pictures/strip.caption"] == "generation 1: 12 latents that never change"
    assert row["pictures/film_strip.caption"].endswith("a row for each generation: 0, 1")
    assert "generations 0 to 2" in last_row(tracked[1])["pictures/film.caption"]


def test_the_film_strip_has_a_row_for_each_generation(tracked):
    _, path, records = tracked
    strip, strips = picture(path, "pictures/strip"), picture(path, "pictures/film_strip")
    assert strips.width == strip.width
    assert strips.height - strip.height == (len(records) - 1) * (strip.height - 2)  # 2 pixels of frame
    last = np.asarray(strips)[-strip.height :]
    assert np.array_equal(last, np.asarray(strip))


def test_recall_by_class_is_a_table_of_generations_and_classes(tracked):
    _, path, records = tracked
    table = json.loads((path.parent / "files" / last_row(path)["tables/recall_by_class.path"]).read_text())
    keys = [f"recall_class_{label}" for label in range(10)]
    assert table["columns"] == ["generation", *keys]
    assert table["data"] == [[record.generation, *(record.metrics[key] for key in keys)] for record in records]


def test_training_steps_go_on_from_generation_to_generation(tracked):
    steps = [row["training/total_step"] for row in history(tracked[1]) if "training/total_step" in row]
    assert steps == [5, 10, 15]


def test_the_run_is_named_grouped_and_tagged(tracked):
    run = first(tracked[1], "run")
    assert (run["run_group"], run["job_type"], run["display_name"]) == ("trial", "vae/replace", "chain")
    assert run["tags"] == ["a", "b", "digits", "vae", "replace"]
    assert run["run_id"] == (tracked[0] / "wandb_run_id").read_text()


def test_the_resolved_config_is_logged(tracked):
    config = first(tracked[1], "run")["config"]["update"]
    assert config["seed"] == 0
    assert config["model"]["sample_shape"] == [1, 8, 8]


def test_the_config_names_the_arm(tracked):
    assert first(tracked[1], "run")["config"]["update"]["arm"]


def test_the_notes_hold_the_headline(tracked):
    _, path, records = tracked
    before, after = (record.metrics["recall"] for record in (records[0], records[-1]))
    notes = every(path, "run")[-1]["notes"]
    assert notes.startswith("Generations 0 to 2: ")
    assert f"Recall {before:.3g} to {after:.3g}" in notes


def test_the_summary_holds_the_profile_the_verdicts_and_the_last_metrics(tracked):
    folder, path, records = tracked
    found, profile = summary(path), json.loads((folder / "profile.json").read_text())
    for key in ("recall_half_life", "first_dead_generation", "num_generations"):
        assert found[f"profile/{key}"] == profile[key]
    assert {found[f"verdict/{key}"] for key in profile["findings"]} <= {"yes", "no", "undecided"}
    assert [found[f"final/{key}"] for key in ("fid", "recall")] == [
        records[-1].metrics[key] for key in ("fid", "recall")
    ]


def test_the_run_is_finished(tracked):
    assert first(tracked[1], "exit").get("exit_code", 0) == 0


def test_the_first_generation_with_an_alarm_is_the_only_alert(tracked):
    folder, path, _ = tracked
    fired = [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]
    (alert,) = every(path, "alert")
    assert (alert["title"], alert["level"]) == ("Collapse alarm: classes_dropped", "WARN")
    assert fired[0]["text"] in alert["text"]


def test_samples_and_checkpoints_of_chosen_generations_are_artifacts_each_the_input_to_the_next(tracked):
    artifacts = [artifact for artifact in every(tracked[1], "artifact") if artifact["type"] == "generation"]
    assert [set(artifact["aliases"]) - {"latest"} for artifact in artifacts] == [{"generation-0"}, {"generation-2"}]
    assert [artifact.get("use_after_commit", False) for artifact in artifacts] == [True, False]
    assert '"chain:generation-0"' in artifacts[1]["metadata"]
    files = {entry["path"] for entry in artifacts[0]["manifest"]["contents"]}
    assert files == {"model.ckpt", "samples.npz", "grid.png", "curve.json"}


def test_values_are_equal_to_the_last_digit_in_records_wandb_and_the_report(tracked, tmp_path):
    folder, path, _ = tracked
    report([str(folder), "--csv", str(tmp_path / "all.csv")])
    with (tmp_path / "all.csv").open() as file:
        by_key = {(int(row["generation"]), row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    for line, row in zip(lines, generation_rows(path), strict=True):
        seen = summary(path) | row
        assert {key: seen[panel_key(key)] for key in line["metrics"]} == line["metrics"]
        assert {key: by_key[line["generation"], key] for key in line["metrics"]} == line["metrics"]


def test_the_summary_of_a_chain_whose_numbers_broke_down_says_so(tmp_path):
    tracking = instantiate(compose_settings("tracking=wandb").tracking, _convert_="object")
    tracking._store, tracking._rows = RunFolder(tmp_path), WandbRows()
    tracking._store.write_json("profile.json", profile_chain([], ending="broke down").to_dict())
    tracking._run = run = SimpleNamespace(
        summary={}, finish=lambda exit_code: None, settings=SimpleNamespace(sync_dir="")
    )
    tracking.finish(has_failed=True)
    assert (run.summary["profile/ending"], run.summary["profile/recall_half_life"]) == ("broke down", 0.0)


def test_a_chain_that_goes_on_after_a_kill_is_one_run_with_every_generation_once(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(1))
        with pytest.raises(KeyboardInterrupt):
            build_and_run(tmp_path / "run", *tiny)
    (killed,) = wandb_files(tmp_path / "run")
    build_and_run(tmp_path / "run", *tiny)
    (path,) = wandb_files(tmp_path / "run")
    assert path.name == killed.name
    assert path.parent != killed.parent
    assert [row["generation"] for row in generation_rows(path)] == [0, 1]
    assert [row["training/total_step"] for row in history(path) if "training/total_step" in row] == [5, 10]
    assert first(path, "exit").get("exit_code", 0) == 0


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param((), id="one by one"),
        pytest.param(("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), marks=pytest.mark.slow, id="side by side"),
    ],
)
def test_two_jobs_of_a_multirun_are_two_finished_runs(launcher, collapsar, tiny, tmp_path):
    code, stderr = collapsar("-m", *tiny, *launcher, "num_generations=1", "seed=0,1", "name=pair")
    assert code == 0, stderr
    of_the_study, *files = sorted(wandb_files(tmp_path / "outputs" / "pair"), key=lambda path: len(path.parts))
    assert first(of_the_study, "run")["job_type"] == "study"
    assert len(files) == 2
    assert [first(path, "exit").get("exit_code", 0) for path in files] == [0, 0]
    assert len({first(path, "run")["run_id"] for path in files}) == 2
    assert {first(path, "run")["run_group"] for path in files} == {"pair"}
    commands = [first(path, "run")["notes"] for path in files]
    assert all(command.startswith("collapsar ") for command in commands)
    assert sorted(command.rpartition("seed=")[2][0] for command in commands) == ["0", "1"]


def test_a_study_is_a_run_with_its_page_its_answer_and_one_alert(collapsar, tiny, tmp_path):
    assert collapsar("-m", *tiny, "num_generations=1", "seed=0,1", "name=pair")[0] == 0
    (path,) = (tmp_path / "outputs" / "pair" / "wandb").rglob("run-*.wandb")
    (page,) = every(path, "artifact")
    (entry,) = page["manifest"]["contents"]
    assert (page["name"], page["type"], entry["path"]) == ("pair-page", "page", "report.html")
    assert entry["local_path"] == str(tmp_path / "outputs" / "pair" / "report.html")
    (alert,) = every(path, "alert")
    assert alert["title"] == "Study pair is finished"
    assert alert["text"] == first(path, "run")["notes"]
    assert alert["text"].startswith("2 chains. ")


@pytest.mark.parametrize("choice", ["alarm=none", "alarm.action=warn"])
def test_alarms_that_only_warn_send_no_alert_of_a_study(choice, collapsar, tiny, tmp_path):
    assert collapsar("-m", *tiny, choice, "num_generations=1", "seed=0,1", "name=one")[0] == 0
    (path,) = (tmp_path / "outputs" / "one" / "wandb").rglob("run-*.wandb")
    assert every(path, "alert") == []


def test_the_page_of_a_chain_is_an_artifact_of_its_run(collapsar, tiny, tmp_path):
    assert collapsar(*tiny, "num_generations=1")[0] == 0
    (path,) = wandb_files(tmp_path / "outputs" / "study")
    pages = [artifact for artifact in every(path, "artifact") if artifact["type"] == "page"]
    assert [entry["path"] for entry in pages[0]["manifest"]["contents"]] == ["report.html"]
    assert len(pages) == 1


@pytest.mark.parametrize(
    ("mode", "chosen", "expected"),
    [("online", None, True), ("offline", None, False), ("online", False, False), ("offline", True, True)],
)
def test_system_metrics_and_console_are_on_where_a_run_is_online_unless_chosen(mode, chosen, expected, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", mode)
    made = tracking(system_metrics=chosen, console=chosen)
    assert (made.has_system_metrics, made.has_console) == (expected, expected)


def test_a_chain_that_fails_is_a_failed_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("collapsar.training.train.train", lambda *given, **arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_and_run(tmp_path / "run", *tiny, "tracking=wandb")
    (path,) = wandb_files(tmp_path / "run")
    assert first(path, "exit")["exit_code"] == 1


def test_without_tracking_no_wandb_folder_is_written(run_chain, tmp_path):
    run_chain(tmp_path / "run", "num_generations=1")
    assert [path for path in tmp_path.rglob("*") if "wandb" in path.name] == []


@pytest.fixture
def bare_environment(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wandb_server, "get_netrc_auth", lambda server: None)


def test_without_a_key_a_run_is_offline(bare_environment):
    assert chosen_mode() == "offline"


def test_with_a_key_a_run_is_online(bare_environment, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert chosen_mode() == "online"


def test_with_a_netrc_entry_a_run_is_online(bare_environment, monkeypatch):
    monkeypatch.setattr(wandb_server, "get_netrc_auth", lambda server: ("user", "0" * 40))
    assert chosen_mode() == "online"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_the_environment_decides_where_it_is_set(bare_environment, monkeypatch, mode):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert chosen_mode() == mode


def test_a_mode_that_wandb_does_not_have_is_refused(bare_environment, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UsageError, match="WANDB_MODE must be one of online, offline, disabled, shared: got 'ofline'"):
        chosen_mode()


def test_a_run_folder_keeps_its_run_id(tmp_path):
    assert run_id(tmp_path) == run_id(tmp_path)
    (tmp_path / "other").mkdir()
    assert run_id(tmp_path / "other") != run_id(tmp_path)


def test_the_run_id_of_a_sweep_agent_comes_first_and_is_kept(tmp_path, monkeypatch):
    own = run_id(tmp_path)
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    assert run_id(tmp_path) == own  # without a sweep, a chain's own id stays
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert run_id(tmp_path) == "fromagent"
    monkeypatch.delenv("WANDB_SWEEP_ID")
    assert run_id(tmp_path) == "fromagent"


def test_chosen_generations_count_from_either_end():
    assert chosen_generations([0, -1], num_generations=8) == [0, 7]
    assert chosen_generations([0, 5, 9, -1], num_generations=6) == [0, 5]
    assert chosen_generations([], num_generations=6) == []


@pytest.mark.parametrize("variable", [{"WANDB_MODE": "disabled"}, {"WANDB_DISABLED": "true", "WANDB_MODE": ""}])
def test_a_chain_with_wandb_disabled_ends_well_and_writes_nothing_of_it(variable, tiny, tmp_path, monkeypatch):
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    build_and_run(tmp_path / "run", *tiny, "tracking.tags=[a]", "num_generations=1")
    assert not [path for path in tmp_path.rglob("*") if "wandb" in path.name]


LONG_TAG, LONG_PROJECT = "a" * 65, "p" * 129
REFUSED_SETTINGS = {
    "tags": [[LONG_TAG], [""], ["a", LONG_TAG]],
    "project": [LONG_PROJECT, "", " ", *(f"a{char}b" for char in "/\\#?%:")],
    "entity": ["", " "],
}
REFUSED_VARIABLES = {
    "WANDB_MODE": ["nowhere", "Online"],
    "WANDB_DISABLED": ["maybe"],
    "WANDB_TAGS": [f"a,{LONG_TAG}"],
    "WANDB_PROJECT": ["a/b"],
    "WANDB_BASE_URL": ["nope", "https://wandb.ai", "ftp://x y"],
    "WANDB_RUN_ID": ["a/b", " a"],
    "WANDB_SWEEP_ID": [" a"],
    "WANDB_API_KEY": ["key "],
    "WANDB_SILENT": ["maybe"],
    "WANDB_RESUME": ["perhaps"],
    "WANDB_HTTP_TIMEOUT": ["soon"],
}


def tracking(**settings):
    given = {"project": "p", "entity": None, "tags": [], "artifact_generations": []} | settings
    given = {"system_metrics": None, "console": None} | given
    return WandbTracking(**given, connect_timeout_seconds=1.0, finish_timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("setting", "value"), [(setting, value) for setting, values in REFUSED_SETTINGS.items() for value in values]
)
def test_a_setting_that_wandb_refuses_is_a_mistake_by_its_name(setting, value):
    with pytest.raises(UsageError, match=f"^tracking.{setting} ") as caught:
        tracking(**{setting: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"), [(variable, value) for variable, values in REFUSED_VARIABLES.items() for value in values]
)
def test_a_variable_that_wandb_refuses_is_a_mistake_by_its_name(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"^{variable} ") as caught:
        tracking()
    assert "\n" not in str(caught.value)


@given(project=st.text(max_size=130), tags=st.lists(st.text(max_size=66), max_size=3))
def test_wandb_itself_is_asked_what_it_refuses(project, tags):
    is_refused = not project.strip()
    try:
        wandb.Settings(project=project, run_tags=tags)
    except (ValidationError, wandb.errors.UsageError):
        is_refused = True
    try:
        tracking(project=project, tags=tags)
    except UsageError:
        assert is_refused
    else:
        assert not is_refused


def test_with_wandb_disabled_nothing_is_asked_of_it(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_BASE_URL", "nope")
    tracking(tags=[LONG_TAG])


def test_names_from_the_environment_reach_the_run(tiny, tmp_path, monkeypatch):
    for name, value in {"WANDB_PROJECT": "mine", "WANDB_ENTITY": "us", "WANDB_TAGS": "x,y"}.items():
        monkeypatch.setenv(name, value)
    build_and_run(tmp_path / "run", *tiny, "num_generations=1", "tracking.artifact_generations=[]", "seed=7")
    (path,) = wandb_files(tmp_path / "run")
    run = first(path, "run")
    assert (run["project"], run["entity"]) == ("mine", "us")
    assert run["tags"][:2] == ["x", "y"]


def test_a_run_does_not_import_launch_which_takes_a_second(tmp_path):
    code = (
        "import sys, wandb, collapsar.journal.wandb_tracking\n"
        "wandb.init(mode='offline', dir=sys.argv[1], settings=wandb.Settings(silent=True)).finish()\n"
        "sys.exit('wandb.sdk.launch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_inputs_that_were_staged_for_launch_are_applied(monkeypatch):
    applied = []
    monkeypatch.setattr(wandb_tracking, "_apply_staged_inputs", applied.append)
    monkeypatch.setitem(sys.modules, "wandb.sdk.launch", SimpleNamespace())
    wandb.Run._detect_and_apply_job_inputs("a run")
    assert applied == ["a run"]
