"""The command `collapsar-findings` on tiny findings: what it runs, continues, writes and returns."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
import yaml

from collapsar.findings import board as board_module
from collapsar.findings import bundles, finding
from collapsar.findings.__main__ import main

TINY = [
    *("data=gaussian", "data.dimensions=5000", "data.num_train=10", "data.num_test=10", "data.num_reserve=0"),
    *("model=gaussian", "evaluation.metrics=[]", "evaluation.num_batches=0", "tracking=none", "alarm=none"),
    *("num_generations=2", "share_generation_0=false", "num_threads=null"),  # which sweepers spell in another way
]
LAW = {"name": "variance", "arm": "replace", "metric": "fitted/variance", "generations": 1}
CONTENT = {
    "protocol": 1,
    "tier": "exact",
    "row": 1,
    "source": "nobody",
    "claim": "variance dies",
    "scope": {"data": "none", "family": "none", "does_not_show": "all"},
    "track": "cpu",
    "command": TINY,
    "arms": {"replace": ["regime=replace"], "accumulate": ["regime=accumulate"]},
    "statistics": [LAW | {"minus": "accumulate", "reproduced": [None, -0.01], "contradicted": [[0.01, None]]}],
    "looks": [4, 5],
}


def call_board(folder, *options, **content):
    """The exit code of the command in a folder, after a finding was written there."""
    path = folder / "conf" / "finding" / "tiny.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(CONTENT | content, sort_keys=False))
    level, handlers = logging.getLogger().level, logging.getLogger().handlers[:]
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(folder)
            for module in (finding, bundles):
                patched.setattr(module, "config_folder", lambda: folder / "conf")
            return main([*options, *([] if {"--check", "--list"} & {*options} else ["--output", "board"])])
    finally:
        logging.getLogger().setLevel(level)
        logging.getLogger().handlers[:] = handlers


@pytest.fixture
def board(tmp_path, monkeypatch, capfd):
    """`board(options, **content)` writes a finding, runs the command in a folder: exit code, output, errors, runs."""
    runs, plain = [], board_module.run
    monkeypatch.setattr(board_module, "run", lambda *given, **more: (runs.append(given), plain(*given, **more))[1])

    def call(*options, **content):
        runs.clear()
        code = call_board(tmp_path, *options, **content)
        out, err = capfd.readouterr()
        return code, out, err, len(runs)

    return call


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The bundle of ten seeds, whose chains are run once for all tests here."""
    folder = tmp_path_factory.mktemp("packed")
    assert call_board(folder, "--bundle", "bundles", looks=[10, 20]) == 0
    return folder / "bundles" / "tiny_v1"


@pytest.fixture
def stored(packed, tmp_path):
    """The chains of ten seeds lie where the command stores them."""
    shutil.copytree(packed / "chains", tmp_path / "board" / "tiny_v1")


@pytest.fixture
def bundle(packed, tmp_path):
    """A copy of the bundle."""
    return shutil.copytree(packed, tmp_path / "bundles" / "tiny_v1")


def test_a_look_whose_controls_fail_is_not_the_last(board, tmp_path, monkeypatch):
    judge = board_module.judge_finding

    def judged(*given, look):
        found = judge(*given, look=look)
        return (
            replace(found, controls=tuple(replace(each, held=False) for each in found.controls)) if look == 4 else found
        )

    monkeypatch.setattr(board_module, "judge_finding", judged)
    assert board()[0] == 0
    assert content_of(tmp_path)["seeds"] == 5


@pytest.fixture(scope="module")
def control_chains(tmp_path_factory):
    """The folder of a control's chains, which both tests of a control find."""
    return tmp_path_factory.mktemp("control")


@pytest.fixture
def nothing_runs(monkeypatch):
    """No chain of a bundle is run again: what reaches this point was found to be in order."""
    monkeypatch.setattr(bundles, "run_again", lambda *_: ["everything but the numbers is in order"])


def content_of(tmp_path):
    return json.loads((tmp_path / "board" / "board.json").read_text())["findings"][0]


def test_the_board_is_run_and_written_and_the_same_command_runs_nothing(board, tmp_path):
    code, out, err, num_runs = board()
    assert (code, num_runs) == (0, 1)
    assert "Entry gate" not in out + err, "a study's table stands before the board"
    first = content_of(tmp_path)
    assert (first["verdict"], first["seeds"]) == ("reproduced", 4)
    assert first["chains"] == {"replace": [*range(4)], "accumulate": [*range(4)]}
    page = (tmp_path / "board" / "board.html").read_text()
    assert "variance dies" in page
    assert "<svg" in page
    assert "reproduced" in out
    code, _, _, num_runs = board()
    assert (code, num_runs, content_of(tmp_path)) == (0, 0, first)


def test_an_undecided_finding_gets_more_seeds_up_to_the_last_look(board, tmp_path):
    undecided = LAW | {"minus": "accumulate", "reproduced": [None, -9], "contradicted": [[9, None]]}
    assert board(statistics=[undecided], looks=[2, 3])[3] == 2
    assert (content_of(tmp_path)["verdict"], content_of(tmp_path)["seeds"]) == ("undecided", 3)
    assert board("--looks", "2", statistics=[undecided], looks=[2, 3])[3] == 0
    assert content_of(tmp_path)["seeds"] == 2


def test_a_control_that_fails_gives_exit_code_1(board, stored, tmp_path):
    wide = LAW | {"reproduced": [0, 2], "contradicted": [[3, 4]]}
    code, out, *_ = board(statistics=[wide])
    assert code == 1
    assert "FAILED: arms swapped" in out
    assert content_of(tmp_path)["controls"] == [{"name": "arms swapped", "held": False, "text": "reproduced"}]


@pytest.mark.parametrize(("expect", "code"), [("undecided", 0), ("reproduced", 1)])
def test_a_control_of_its_own_is_run_with_the_finding(board, stored, control_chains, tmp_path, expect, code):
    control = {"overrides": ["data.num_train=10000", "data.dimensions=2"], "expect": expect}
    has_run = any(control_chains.iterdir())
    (tmp_path / "board" / "tiny_v1_control1").symlink_to(control_chains)
    found, _, _, num_runs = board("--looks", "2", controls=[control])
    assert (found, num_runs) == (code, 0 if has_run else 1)
    assert content_of(tmp_path)["controls"][-1]["text"] == f"undecided, expected {expect}"


def test_a_law_is_looked_up_by_the_settings_of_the_arm(board, stored, tmp_path):
    board(statistics=[LAW | {"expected": "law"}])
    assert content_of(tmp_path)["statistics"][0]["expected"] == pytest.approx(0.81)


def test_a_missing_law_a_refused_chain_and_an_unknown_name_give_exit_code_2(board, stored):
    code, _, err, _ = board(statistics=[LAW | {"metric": "fitted/sd", "expected": "law"}])
    assert (code, err.splitlines()[-1]) == (
        2,
        "collapsar-findings: statistic 'variance': no exact law of fitted/sd holds for arm replace",
    )
    code, _, err, _ = board(command=[*TINY, "data.dimension=3"])
    assert (code, "data.dimension is not an option" in err) == (2, True)
    code, _, err, _ = board("tinny")
    assert (code, err) == (2, "collapsar-findings: there is no finding 'tinny': did you mean tiny? there are tiny\n")
    code, _, err, _ = board("--looks", "1")
    assert (code, err) == (2, "collapsar-findings: --looks must be at least 2 seeds: got 1\n")


def test_findings_are_listed_without_a_run(board):
    code, out, _, num_runs = board("--list")
    assert (code, out, num_runs) == (0, "  1 tiny (exact, cpu): variance dies\n", 0)


def test_a_bundle_is_accepted_after_one_of_its_chains_ran_again(board, bundle, stored):
    code, out, *_ = board("--check", str(bundle), looks=[10, 20])
    assert (code, out.splitlines()[-1]) == (0, "the bundle is accepted")
    code, _, err, _ = board("--bundle", "bundles", looks=[10, 20])
    assert code == 2
    assert "is already there" in err


def resealed(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = bundles.file_hashes(bundle)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_is_refused_for_what_is_wrong_with_it(board, bundle):
    def problem(**content):
        code, out, *_ = board("--check", str(bundle), **{"looks": [10, 20]} | content)
        assert code == 1
        return out

    assert "this version has 2" in problem(protocol=2)
    chain = next((bundle / "chains").glob("*replace_seed3*"))
    config = chain / "config.yaml"
    plain = config.read_text()
    assert "num_train: 10\n" in plain
    config.write_text(plain.replace("num_train: 10\n", "num_train: 11\n").partition("# checksum")[0])
    assert "files differ from the manifest" in problem()
    resealed(bundle)
    assert "the recipe has changed in data.num_train" in problem()
    config.write_text(plain.replace("objective: null", "objective: final/recall").partition("# checksum")[0])
    resealed(bundle)
    assert "is a trial on a reported seed" in problem()
    config.write_text(plain)
    chain.rename(bundle.parent / "away")
    resealed(bundle)
    text = problem()
    assert "arm replace has 9 seeds: 10 at least" in text
    assert "must have all seeds from 0 on, failures too: got 0, 1, 2, 4" in text
    (bundle.parent / "away").rename(chain)
    for records in (bundle / "chains").glob("*/records.jsonl"):
        lines = [json.loads(line) for line in records.read_text().splitlines()]
        for line in lines:
            line.pop("checksum", None)
            line["fitted"]["variance"] = [2 * value for value in line["fitted"]["variance"]]
        records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    resealed(bundle)
    assert "when run again" in problem()


def stated(**values):
    """Changes what the manifest of a bundle states."""

    def change(bundle):
        manifest = json.loads((bundle / "manifest.json").read_text()) | values
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (stated(finding="../../x"), "there is no finding '../../x'"),
        (stated(finding="tinny"), "there is no finding 'tinny': did you mean tiny?"),
        *(
            (stated(**{key: None}), "must hold the keys finding, protocol, look")
            for key in ("finding", "files", "look")
        ),
        (stated(look="ten"), "must hold the keys"),
        (stated(look=float("inf")), "must hold the keys"),
        (lambda bundle: (bundle / "manifest.json").write_text("[" * 100_000), "must hold the keys"),
        (lambda bundle: (bundle / "manifest.json").unlink(), "is no bundle: it must be a folder"),
    ],
)
def test_a_folder_that_is_no_bundle_is_one_line_and_exit_code_2(board, bundle, change, text):
    change(bundle)
    code, _, err, num_runs = board("--check", str(bundle), looks=[10, 20])
    assert (code, len(err.splitlines()), num_runs) == (2, 1, 0)
    assert text in err


def of_chain(name, content=None):
    """Changes or deletes a file of one chain."""

    def change(bundle):
        path = next((bundle / "chains").glob("*replace_seed3*")) / name
        path.unlink() if content is None else path.write_text(content)

    return change


def with_seed_of_another(bundle):
    first, second = (next((bundle / "chains").glob(f"*replace_seed{seed}*")) for seed in (2, 3))
    for name in ("config.yaml", "records.jsonl"):
        shutil.copyfile(first / name, second / name)


def copy_a_chain(bundle):
    shutil.copytree(next((bundle / "chains").glob("*replace_seed3*")), bundle / "chains" / "again")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (stated(look=2), "look 2 must be 10 seeds at least, and 20 at most"),
        (stated(look=10**9), "look 1000000000 must be"),
        (stated(look=20), "all seeds from 0 on, failures too: got 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 for look 20"),
        (with_seed_of_another, "was started with seed 3, and its files say 2"),
        (copy_a_chain, "or a second chain of its seed"),
        (of_chain(".hydra/overrides.yaml", "- 'a=[1'\n- '=='"), "is of no arm"),
        (of_chain("records.jsonl", "\0\n"), "line 1: not a generation record"),
        (of_chain("config.yaml", "a: [1"), "config.yaml is damaged"),
        (of_chain("records.jsonl"), "has not ended"),
        (lambda bundle: shutil.rmtree(bundle / "chains"), "no such folder"),
        (lambda bundle: (bundle / "finding.yaml").write_text("claim: other"), "finding.yaml: protocol: Field required"),
        (lambda bundle: (bundle / "finding.yaml").unlink(), "No such file"),
        (
            lambda bundle: (bundle / "board.json").write_text("{}"),
            "board.json says None, and the chains say reproduced",
        ),
    ],
)
def test_a_tampered_bundle_is_refused_even_if_its_hashes_are_made_anew(board, bundle, nothing_runs, change, text):
    change(bundle)
    resealed(bundle)
    code, out, err, _ = board("--check", str(bundle), looks=[10, 20])
    assert (code, err) == (1, "")
    assert text in out


def test_a_false_verdict_or_claim_in_a_bundle_is_refused(board, bundle, nothing_runs):
    for name, old, new, text in (
        ("board.json", '"verdict": "reproduced"', '"verdict": "contradicted"', "board.json says contradicted"),
        ("finding.yaml", "variance dies", "variance stays", "finding.yaml is not the finding tiny of this version"),
    ):
        plain = (bundle / name).read_text()
        (bundle / name).write_text(plain.replace(old, new))
        resealed(bundle)
        assert text in board("--check", str(bundle), looks=[10, 20])[1]
        (bundle / name).write_text(plain)
    resealed(bundle)
    assert board("--check", str(bundle), looks=[10, 20])[1] == "everything but the numbers is in order\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("tiny", "--check", "x"), "NAME has no effect with --check"),
        (("--list", "--bundle", "x", "--looks", "3"), "--looks, --bundle has no effect with --list"),
        (("tiny", "--track", "cpu"), "--track has no effect with NAME"),
        (("--bundle", "conf/finding/tiny.yaml"), "File exists"),
    ],
)
def test_an_option_without_effect_and_a_place_that_cannot_be_written_are_refused_before_a_run(board, options, text):
    code, _, err, num_runs = board(*options)
    assert (code, len(err.splitlines()), num_runs) == (2, 1, 0)
    assert text in err


def test_a_bundle_that_is_there_is_refused_before_a_run_and_a_name_twice_is_one_finding(board, stored, bundle):
    code, _, err, num_runs = board("--bundle", "bundles", looks=[10, 20], arms={"a": ["regime=mix"], **CONTENT["arms"]})
    assert (code, err.count("is already there"), num_runs) == (2, 1, 0)
    assert board("tiny", "tiny", "--bundle", "others", looks=[10, 20])[0] == 0
    assert not (bundle.parent.parent / "others" / ".tiny_v1.partial").exists()


def test_names_with_markup_stand_on_the_board_as_they_are(board, stored):
    odd = LAW | {"name": "[/] [red]x", "minus": "accumulate", "reproduced": [None, -0.01]}
    assert "[/] [red]x" in board(statistics=[odd])[1]
