"""The saved W&B workspace: made without a network, of keys that a chain logs; saved only with a key."""

import sys
from runpy import run_path

import pytest

from collapsar.journal import wandb_server
from collapsar.journal import workspace as workspace_module
from collapsar.journal.workspace import build_workspace


@pytest.fixture(scope="module")
def sections():
    workspace = build_workspace(entity="someone", project="collapsar", num_classes=10)
    spec = workspace._to_model().model_dump(by_alias=True, exclude_none=True)["spec"]
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}


def test_headlines_are_drawn_over_generation_with_their_floor_and_a_band(sections):
    found = {panel["chartTitle"]: panel for panel in sections["What collapses"]}
    assert list(found) == ["FID", "Precision", "Recall", "Classes dropped", "Coverage", "Density"]
    assert found["Recall"]["metrics"] == ["recall", "floors/recall_floor"]
    assert {panel["xAxis"] for panel in found.values()} == {"generation"}
    assert {(panel["groupAgg"], panel["groupArea"]) for panel in found.values()} == {("mean", "minmax")}


def test_the_profile_is_a_bar_for_each_group(sections):
    metrics = [panel["metrics"] for panel in sections["The chain as a whole"]]
    assert ["summary_metrics.profile/recall_half_life"] in metrics
    assert ["summary_metrics.final/fid"] in metrics


def test_film_strips_classes_and_losses_have_their_panels(sections):
    (strips,) = sections["Film strips of the same latents"]
    assert strips["mediaKeys"] == ["pictures/film", "pictures/film_strip"]
    assert sections["Classes"][0]["metrics"] == [f"by_class/recall_class_{label}" for label in range(10)]
    assert "pictures/class_shares" in str(sections["Classes"][1])
    assert "tables/recall_by_class" in str(sections["Classes"][3])
    regexes = [panel["metricRegex"] for panel in sections["Training"]]
    assert regexes == ["training/.*", "steps/learning_rate.*", "steps/gradient_norm.*"]
    assert {panel["xAxis"] for panel in sections["Training"]} == {"training/total_step"}


def test_runs_are_grouped_by_arm():
    workspace = build_workspace(entity="someone", project="collapsar", num_classes=10)
    (group,) = workspace.runset_settings.groupby
    assert (group.section, str(group.name)) == ("config", "arm")


def test_without_a_key_nothing_is_saved_and_one_line_says_why(monkeypatch, capsys):
    monkeypatch.setattr(wandb_server, "get_netrc_auth", lambda server: None)
    monkeypatch.setattr(sys, "argv", ["workspace", "someone"])
    with pytest.raises(SystemExit) as stop:
        workspace_module.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "scripts/workspace: a workspace is saved at W&B, which needs a key: run `wandb login`, or set WANDB_API_KEY\n"
    )


def test_the_script_is_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["workspace", "--help"])
    with pytest.raises(SystemExit) as stop:
        run_path(workspace_module.__file__, run_name="__main__")
    assert stop.value.code == 0
    assert "--project" in capsys.readouterr().out
