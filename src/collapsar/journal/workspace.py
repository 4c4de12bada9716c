"""A saved W&B workspace with the panels of a study: chains grouped by arm, bands over seeds.

`build_workspace` needs no network; `main` saves the workspace, which needs a key.
"""

import sys
from argparse import ArgumentParser

import wandb_workspaces.reports.v2.interface as panels
import wandb_workspaces.workspaces.interface as workspaces
from wandb_workspaces import expr

from collapsar.foundations.record import GRADIENT_NORM, LEARNING_RATE
from collapsar.journal.rows import AXIS, HEADLINE, TRAINING_AXIS, panel_key
from collapsar.journal.wandb_rows import CLASS_HISTOGRAM, CLASS_SHARES, FILM, FILM_STRIP, RECALL_BY_CLASS
from collapsar.journal.wandb_server import api_key
from collapsar.judging.metric_keys import title_of

PROFILE = {
    "Half-life of recall (generations)": "profile/recall_half_life",
    "First dead class (generation)": "profile/first_dead_generation",
    "FID at the end": "final/fid",
    "Recall at the end": "final/recall",
}


def build_workspace(*, entity: str, project: str, num_classes: int) -> workspaces.Workspace:
    """The workspace of a project whose data have this many classes."""
    recall_by_class = [panel_key(f"recall_class_{label}") for label in range(num_classes)]
    headlines = [over_generations(title_of(key), [key, panel_key(f"{key}_floor")]) for key in HEADLINE]
    classes: list[panels.PanelTypes] = [
        over_generations("Recall by class", recall_by_class),
        panels.MediaBrowser(title="Classes among the samples", media_keys=[CLASS_SHARES], num_columns=2),
        panels.LinePlot(title="Classes among the samples, live", x=AXIS, y=[CLASS_HISTOGRAM]),
        panels.WeavePanelSummaryTable(table_name=RECALL_BY_CLASS),
    ]
    scalars = [
        panels.BarPlot(title=title, metrics=[panels.SummaryMetric(key)], groupby_aggfunc="median")
        for title, key in PROFILE.items()
    ]
    film_strips = panels.MediaBrowser(title="Film strips", media_keys=[FILM, FILM_STRIP], num_columns=2)
    training = [
        panels.LinePlot(title=title, x=TRAINING_AXIS, metric_regex=regex)
        for title, regex in (
            ("Losses", "training/.*"),
            ("Learning rate", f"steps/{LEARNING_RATE}.*"),
            ("Norm of the gradients", f"steps/{GRADIENT_NORM}.*"),
        )
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="Model collapse",
        sections=[
            workspaces.Section(name="What collapses", panels=[*headlines], is_open=True),
            workspaces.Section(name="The chain as a whole", panels=[*scalars], is_open=True),
            workspaces.Section(name="Film strips of the same latents", panels=[film_strips], is_open=True),
            workspaces.Section(name="Classes", panels=[*classes], is_open=True),
            workspaces.Section(name="Training", panels=[*training], is_open=False),
        ],
        runset_settings=workspaces.RunsetSettings(groupby=[expr.Config("arm")]),
    )


def over_generations(title: str, keys: list[str]) -> panels.LinePlot:
    """A plot of means over the runs of a group, with a band from the lowest to the highest."""
    return panels.LinePlot(
        title=title, x=AXIS, y=[*keys], groupby_aggfunc="mean", groupby_rangefunc="minmax", aggregate=True
    )


def main() -> None:
    """Save the workspace and print its address."""
    parser = ArgumentParser(prog="scripts/workspace", description="Save a W&B workspace with a study's panels.")
    parser.add_argument("entity", help="W&B user or team")
    parser.add_argument("--project", default="collapsar", help="W&B project (tracking.project)")
    parser.add_argument("--num-classes", type=int, default=10, help="classes of the data")
    arguments = parser.parse_args()
    if api_key() is None:
        parser.exit(
            2,
            f"{parser.prog}: a workspace is saved at W&B, which needs a key: run `wandb login`, or set WANDB_API_KEY\n",
        )
    workspace = build_workspace(entity=arguments.entity, project=arguments.project, num_classes=arguments.num_classes)
    sys.stdout.write(f"{workspace.save().url}\n")


if __name__ == "__main__":
    main()
