"""What `collapsar-bench training` measured, as tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

LEGEND = (
    "plain: Dataset, DataLoader, Lightning's defaults; lightning: barebones, on tensors; "
    "by_hand: a loop on tensors; all three in float32"
)


def training_tables(measured: Mapping[str, Any]) -> Iterator[Table]:
    """Paces, what a generation is made of, and seconds to quality, where they were measured."""
    yield pace_table(measured)
    if any(case["phase_seconds"] for case in measured["cases"]):
        yield phase_table(measured)
    if measured["quality"]:
        yield quality_table(measured)


def pace_table(measured: Mapping[str, Any]) -> Table:
    """A row for each way of each case."""
    machine, effort = measured["machine"], measured["effort"]
    title = f"Training on {machine['device']}, {machine['num_threads']} threads: median of {effort['repeats']}"
    table = Table(title=title, caption=LEGEND)
    add_columns(table, "", "way", "images/s", "ours by", "in", "of peak", "MB")
    for case in measured["cases"]:
        ours = case["ways"]["ours"]["images_per_second"]
        for way, found in case["ways"].items():
            table.add_row(
                f"{case['data']} {case['model']}" if way == next(iter(case["ways"])) else "",
                way,
                f"{found['images_per_second']:,.0f}",
                "" if way == "ours" else f"{ours / found['images_per_second']:.2f}",
                found["precision"],
                f"{found['matrix_share']:.1%}",
                f"{(found['peak_device_bytes'] or found['peak_bytes']) / 1e6:,.0f}",
            )
    return table


def phase_table(measured: Mapping[str, Any]) -> Table:
    """What a generation is made of: seconds, and shares of it."""
    cases = [case for case in measured["cases"] if case["phase_seconds"]]
    table = Table(title="A generation, its training at the pace above: seconds and share")
    add_columns(table, "", *cases[0]["phase_seconds"])
    for case in cases:
        cells = (
            f"{seconds:.2f} ({case['phase_shares'][phase]:.0%})" for phase, seconds in case["phase_seconds"].items()
        )
        table.add_row(f"{case['data']} {case['model']}", *cells)
    return table


def quality_table(measured: Mapping[str, Any]) -> Table:
    """When samples were good, and what they were at the end of the budget."""
    table = Table(title="Seconds of training until precision and recall are both at least .8")
    add_columns(table, "", "recipe", "good after", "whole budget", "precision", "recall")
    for found in measured["quality"]:
        last, after = found["looks"][-1], found["good_after_seconds"]
        table.add_row(
            f"{found['data']} {found['model']}",
            found["recipe"],
            "never" if after is None else f"{after:.1f} s",
            f"{last['seconds']:.1f} s",
            f"{last['precision']:.2f}",
            f"{last['recall']:.2f}",
        )
    return table


def add_columns(table: Table, *headings: str) -> None:
    """Columns, numbers to the right."""
    for heading in headings:
        table.add_column(heading, justify="left" if heading in {"", "way", "recipe", "in"} else "right")
