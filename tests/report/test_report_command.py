"""`collapsar-report`: what it writes, and one clear line where it cannot."""

import json
import math
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from planted_comparison import write_comparison
from planted_runs import write_records

from collapsar.report.__main__ import main
from collapsar.report.paper import write_figures
from collapsar.study.chains import read_chains
from collapsar.study.study import read_study
from collapsar.theory.laws import laws_of

LOADED = """
import sys
from collapsar.report.__main__ import main
from collapsar.study.study import read_study
code = main(sys.argv[1:])
print([name for name in ("torch", "torchvision", "lightning", "plotly") if name in sys.modules])
sys.exit(code)
"""


def test_page_goes_into_the_folder_that_was_asked_about(make_run, capsys):
    run = make_run()
    assert main([str(run)]) == 0
    assert (run / "report.html").exists()
    assert capsys.readouterr().out.strip() == str(run / "report.html")


@pytest.mark.parametrize("option", [[], ["--text"], ["--csv", "x.csv"]])
def test_no_such_folder_is_one_line_and_exit_code_2(option, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), *option]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"collapsar-report: no such folder: {tmp_path / 'nowhere'}\n"


def test_broken_record_is_one_line_and_exit_code_2(make_run, capsys):
    run = make_run()
    (run / "records.jsonl").write_text("nonsense\n" + (run / "records.jsonl").read_text())
    assert main([str(run)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_unwritable_output_is_one_line_and_exit_code_2(make_run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(make_run()), "-o", str(tmp_path / "file" / "page.html")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_text_prints_the_table_and_writes_no_page(sweep, capsys):
    assert main([str(sweep), "--text"]) == 0
    printed = capsys.readouterr().out
    assert "vae, replace" in printed
    assert read_study(sweep).results_hash in printed
    assert not (sweep / "report.html").exists()


def test_beside_a_csv_stands_where_its_numbers_are_from(sweep, tmp_path, capsys):
    assert main([str(sweep), "--csv", str(tmp_path / "all.csv")]) == 0
    content = json.loads((tmp_path / "all_provenance.json").read_text())
    study = read_study(sweep)
    assert (content["records"], content["results"]) == (study.records_hash, study.results_hash)
    assert {"last_generation", "command"} <= set(content)
    assert str(tmp_path / "all_provenance.json") in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export_reads_back_equal_to_the_records(kind, sweep, tmp_path):
    output = tmp_path / f"table.{kind}"
    assert main([str(sweep), f"--{kind}", str(output)]) == 0
    table = pd.read_csv(output) if kind == "csv" else pd.read_parquet(output)
    assert list(table.columns) == ["arm", "chain", "seed", "data", "model", "regime", "generation", "metric", "value"]
    values = table.set_index(["chain", "generation", "metric"])["value"].to_dict()
    for chain in read_chains([sweep]):
        for record in chain.records:
            for key, value in record.metrics.items():
                assert values[chain.label, record.generation, key] == value
    assert not any(math.isnan(value) for value in values.values())


def test_figures_come_as_svg_and_png(make_run, tmp_path):
    assert main([str(make_run(with_images=False)), "--figures", str(tmp_path / "figures")]) == 0
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    stems = ["class_survival", "classes_dropped", "fid", "precision", "precision_recall", "recall"]
    assert names == [f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")]


@pytest.mark.parametrize(
    ("num_generations", "ticks"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (9, [*range(0, 9, 2)])]
)
def test_ticks_of_generations_in_figures_are_whole(make_run, tmp_path, num_generations, ticks):
    run = make_run(with_images=False, num_generations=num_generations)
    written = write_figures(read_study([run]), tmp_path)
    for name in ("recall.svg", "class_survival.svg"):
        assert tmp_path / name in written
        axis = (tmp_path / name).read_text().partition('id="matplotlib.axis_1"')[2].partition(">generation<")[0]
        assert re.findall(r"<text[^>]*>([^<]+)</text>", axis) == [str(tick) for tick in ticks]


def test_figures_without_anything_to_draw_are_not_written(make_run, tmp_path):
    run = make_run(with_images=False)
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        record["class_shares"] = {}
        record["metrics"] = {"fid": record["metrics"]["fid"]}
    write_records(run, records)
    assert main([str(run), "--figures", str(tmp_path / "figures")]) == 0
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["fid.png", "fid.svg"]


@pytest.mark.slow
def test_the_same_records_give_the_same_figures(make_run, tmp_path):
    run = make_run(with_images=False)
    for folder in ("one", "two"):
        main([str(run), "--figures", str(tmp_path / folder)])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_no_part_of_the_report_loads_torch_or_the_plotting_package(make_run, tmp_path):
    make_run("runs/images", num_generations=2)
    config = make_run("runs/categories", num_generations=2, with_images=False) / "config.yaml"
    analytic = {
        "data": {
            "_target_": "collapsar.data.sources.analytic.CategoricalSource",
            "num_train": 50,
            "num_categories": 8,
            "zipf_exponent": 1.0,
        },
        "model": {"_target_": "collapsar.models.analytic.analytic.Categorical"},
        "selection": {"_target_": "collapsar.drawing.selection.KeepAll"},
        "bias": {"spread": 1.0},
        "num_synthetic": None,
    }
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | analytic))
    assert laws_of(yaml.safe_load(config.read_text()))
    outputs = ("-o", "page.html", "--text", "--csv", "table.csv", "--figures", "figures")
    command = [sys.executable, "-c", LOADED, "runs", *outputs]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_stopped_and_broken_folders_count_in_text_and_export(make_run, tmp_path, capsys):
    make_run("runs/kept", rate=0.01)
    ends = {
        "stopped": ("stopped", "stopped by the alarm at generation 1 (recall_drops): recall falls suddenly", 2),
        "broken": ("failed", "NonFiniteError: loss is nan in generation 0, epoch 0, step 3", 0),
    }
    for seed, (place, (state, message, num_finished)) in enumerate(ends.items(), 1):
        run = make_run(f"runs/{place}", seed=seed, rate=0.97, num_finished=num_finished)
        (run / "status.json").write_text(json.dumps({"state": state, "message": message}))
    assert main([str(tmp_path / "runs"), "--text", "--csv", str(tmp_path / "table.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "seed 1: stopped after 2 of 8 generations: stopped by the alarm at generation 1" in said
    assert "seed 2: broke down after 0 of 8 generations: NonFiniteError: loss is nan in generation 0" in said
    assert said.count("counted, last values carried on to generation 7") == 2
    table = pd.read_csv(tmp_path / "table.csv")
    last = table[(table["metric"] == "recall") & (table["generation"] == 7)].set_index("chain")["value"]
    assert (last["broken"], last["stopped"] < 0.1, last["kept"] > 0.5) == (0.0, True, True)
    assert set(table[table["metric"] == "carried_from"]["chain"]) == {"broken", "stopped"}


def test_text_in_a_file_has_every_name_and_number_whole(tmp_path, capsys):
    """Rich cuts a cell that is too wide for the console with an ellipsis."""
    folder, long = write_comparison(tmp_path, seeds=range(2)), "replace, lever=self_supervised_contrastive"
    for file in folder.glob("gradient clipping*/choices.json"):
        file.write_text(json.dumps({"arm": long, "choices": {}, "settings": long}))
    assert main([str(folder), "--text"]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert printed.count("lever=self_supervised_contrastive") >= 2  # in the arms and in the effects
