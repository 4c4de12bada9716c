"""Records as a data set, and other people's chains from a CSV file."""

import json
from hashlib import sha256

import pandas as pd
import pytest

from collapsar.foundations.errors import UsageError
from collapsar.report.__main__ import main
from collapsar.report.exports import read_dataset, tidy
from collapsar.study.study import read_study


def test_a_data_set_reads_back_equal_to_the_records(sweep, tmp_path):
    assert main([str(sweep), "--dataset", str(tmp_path / "set")]) == 0
    pd.testing.assert_frame_equal(read_dataset(tmp_path / "set"), tidy(read_study(sweep).arms), check_dtype=False)


def test_the_description_names_every_column_and_the_checksum(sweep, tmp_path):
    main([str(sweep), "--dataset", str(tmp_path)])
    content = json.loads((tmp_path / "croissant.json").read_text())
    table = pd.read_parquet(tmp_path / "records.parquet")
    fields = content["recordSet"][0]["field"]
    assert [field["source"]["extract"]["column"] for field in fields] == [*table.columns]
    assert {field["source"]["fileObject"]["@id"] for field in fields} == {content["distribution"][0]["@id"]}
    assert content["name"] == "quickstart"
    assert content["distribution"][0]["sha256"] == sha256((tmp_path / "records.parquet").read_bytes()).hexdigest()
    kinds = {"sc:Integer": "i", "sc:Float": "f", "sc:Text": "OSU"}
    assert all(table[field["name"]].dtype.kind in kinds[field["dataType"]] for field in fields)


def test_the_description_is_valid_croissant(sweep, tmp_path):
    croissant = pytest.importorskip("mlcroissant")
    main([str(sweep), "--dataset", str(tmp_path)])
    assert croissant.Dataset(str(tmp_path / "croissant.json")).metadata.name == "quickstart"  # it raises if invalid


def test_a_damaged_or_missing_data_set_is_refused(sweep, tmp_path):
    main([str(sweep), "--dataset", str(tmp_path)])
    (tmp_path / "records.parquet").write_bytes(b"x")
    with pytest.raises(UsageError, match="is damaged"):
        read_dataset(tmp_path)
    with pytest.raises(UsageError, match="is no data set"):
        read_dataset(tmp_path / "nowhere")


def foreign(path, **columns):
    rows = [
        {"generation": generation, "seed": seed, "arm": arm, "metric": "recall", "value": 0.9 - rate * generation}
        for arm, rate in (("theirs: replace", 0.2), ("theirs: mixed", 0.01))
        for seed in (0, 1)
        for generation in range(4)
    ]
    pd.DataFrame(rows).assign(**columns).to_csv(path, index=False)
    return path


def test_foreign_chains_stand_on_the_same_page(sweep, tmp_path):
    file = foreign(tmp_path / "theirs.csv")
    assert main([str(sweep), "--import", str(file)]) == 0
    study = read_study(sweep)
    theirs = [arm for arm in study.arms if arm.family[1] == "foreign"]
    assert [len(arm.distinct) for arm in theirs] == [2, 2]
    replaced = next(arm for arm in theirs if "replace" in arm.name)
    assert study.curves("recall")[replaced.name, 1].tolist()[:4] == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert "theirs: mixed" in (sweep / "report.html").read_text()


def test_importing_again_changes_nothing(tmp_path):
    file = foreign(tmp_path / "theirs.csv")
    (tmp_path / "study").mkdir()
    for _ in range(2):
        assert main([str(tmp_path / "study"), "--import", str(file), "--csv", str(tmp_path / "out.csv")]) == 0
        assert len(read_study(tmp_path / "study").chains) == 4


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"value": float("inf")}, "value must be finite numbers: got 'inf'"),
        ({"value": "0,5"}, "value must be finite numbers: got '0,5'"),
        ({"value": float("nan")}, "value must be finite numbers: got ''"),
        ({"value": 90}, "recall lies between 0 and 1: got 90"),
        ({"arm": ""}, "arm must be a text: got ''"),
        ({"metric": None}, "metric must be a text: got ''"),
        ({"model": "vae"}, "has the columns model, which have no place: it needs generation, seed, arm"),
        ({"seed": 2**70}, "seed must be whole numbers from 0 on: got '1180591620717411303424'"),
        ({"seed": -1}, "seed must be whole numbers from 0 on"),
        ({"generation": 0.5}, "generation must be whole numbers from 0 on"),
        ({"generation": 0}, "generation 0 twice"),
    ],
)
def test_a_foreign_file_that_cannot_be_used_is_one_line_and_exit_code_2(tmp_path, capsys, columns, text):
    file = foreign(tmp_path / "theirs.csv", **columns)
    assert main([str(tmp_path / "study"), "--import", str(file)]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_foreign_file_without_a_column_names_it(tmp_path, capsys):
    (tmp_path / "theirs.csv").write_text("generation,seed,metric,value\n0,0,recall,1\n")
    assert main([str(tmp_path), "--import", str(tmp_path / "theirs.csv")]) == 2
    assert "lacks the columns arm: it needs generation, seed, arm, metric, value" in capsys.readouterr().err


@pytest.mark.parametrize("change", [lambda each: each + 1, lambda each: 10**6 * each])
def test_foreign_generations_that_start_late_or_never_end_are_refused(tmp_path, capsys, change):
    table = pd.read_csv(foreign(tmp_path / "theirs.csv"))
    table.assign(generation=change(table["generation"])).to_csv(tmp_path / "theirs.csv", index=False)
    assert main([str(tmp_path / "study"), "--import", str(tmp_path / "theirs.csv")]) == 2
    err = capsys.readouterr().err
    assert "generations of theirs: mixed, seed 0, must begin with 0 (trained on real data) and lie below" in err
    assert not (tmp_path / "study").exists()


def test_a_foreign_file_of_a_spreadsheet_is_read_or_refused_with_what_it_needs(tmp_path, capsys):
    file = foreign(tmp_path / "theirs.csv")
    text = file.read_text()
    for changed, encoding, code in (
        (text, "utf-8-sig", 0),
        (text.replace(",", ", "), "utf-8", 0),
        (text.replace("theirs: mixed", "None"), "utf-8", 0),
        (text.replace(",", ";"), "utf-8", 2),
        (text, "utf-16", 2),
        (text.splitlines()[0] + "\n", "utf-8", 2),
    ):
        file.write_bytes(changed.encode(encoding))
        assert main([str(tmp_path / f"study {encoding} {len(changed)}"), "--import", str(file), "--text"]) == code
        err = capsys.readouterr().err
        assert err.count("\n") == (code == 2)
    assert "got no rows" in err


def test_two_foreign_files_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    files = [foreign(tmp_path / "theirs.csv"), foreign(tmp_path / "other" / "theirs.csv")]
    assert main([str(tmp_path / "study"), *(word for file in files for word in ("--import", str(file)))]) == 2
    assert "--import needs files of different names" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", '{"distribution": []}', '{"distribution": [{}]}'])
def test_a_data_set_with_another_description_is_refused(sweep, tmp_path, text):
    main([str(sweep), "--dataset", str(tmp_path)])
    (tmp_path / "croissant.json").write_text(text)
    with pytest.raises(UsageError, match="is no data set"):
        read_dataset(str(tmp_path))


def test_a_page_without_a_name_and_an_interruption_are_one_line(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(sweep), "-o", ""]) == 2
    assert capsys.readouterr().err.startswith("collapsar-report: [Errno ")
    monkeypatch.setattr("collapsar.study.study.read_study", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main([str(sweep)]) == 130
    assert capsys.readouterr().err == "collapsar-report: interrupted\n"
