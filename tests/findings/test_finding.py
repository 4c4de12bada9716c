"""A finding is checked by name: whatever it may not say is refused in one line."""

import pytest
import yaml
from planted_chains import PLAIN

from collapsar.findings.finding import load_finding, load_findings
from collapsar.foundations.errors import UsageError

STATISTIC = {
    "name": "own",
    "arm": "treated",
    "minus": "plain",
    "metric": "recall",
    "generations": [1, 3],
    "reproduced": [0.1, None],
    "contradicted": [[None, -0.1]],
}


def load(tmp_path, *, of_statistic=(), **given):
    path = tmp_path / "own.yaml"
    if dict(of_statistic).get("over") == "bias._target_":
        given = {"arms": {"treated": ["bias._target_=a.B"], "plain": []}} | given
    path.write_text(yaml.safe_dump(PLAIN | {"statistics": [STATISTIC | dict(of_statistic)]} | given, sort_keys=False))
    return load_finding(path)


def test_a_finding_takes_its_name_from_the_file_and_has_a_folder_for_each_protocol(tmp_path):
    assert load(tmp_path).folder_name == "own_v1"
    assert load(tmp_path, protocol=2).folder_name == "own_v2"
    assert load(tmp_path).looks == (5, 10, 20)


def test_the_hash_changes_with_the_bands_alone(tmp_path):
    assert load(tmp_path).hash == load(tmp_path).hash
    assert load(tmp_path).hash != load(tmp_path, of_statistic={"reproduced": [0.2, None]}).hash


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"claims": "x"}, "own.yaml: claims: no such key"),
        ({"tier": "sure"}, "tier: Input should be 'exact', 'same_setting' or 'analogue'"),
        ({"protocol": 0}, "protocol: Input should be greater than or equal to 1"),
        ({"scope": {"data": "x"}}, "scope.family: Field required"),
        ({"looks": [10, 5]}, r"looks must rise: got \[10, 5\]"),
        ({"looks": [1]}, "looks.0: Input should be greater than or equal to 2"),
        ({"command": ["data=gaussian", "seed=3"]}, "not of seed, name or hydra: got 'seed=3'"),
        *(({"command": [text]}, "an override is KEY=VALUE") for text in ("data", "a=1,2", "a=[1", "=1", "a=1\nb=2")),
        *(({"command": [text]}, "an override is KEY=VALUE") for text in ("--multirun=1", "-m=1", "a=range(1,3)", "~a")),
        ({"command": ["a=1", "+a=2"]}, "set no key twice, and set no key that command sets: got a"),
        ({"controls": [{"overrides": ["bias.spread=1"], "expect": "undecided"}]}, "none that an arm sets: got bias"),
        (
            {"controls": [{"overrides": [], "expect": "undecided"}]},
            "controls.0.overrides: Tuple should have at least 1",
        ),
        ({"command": ["num_generations=3"]}, "must be below num_generations=3 of arm treated: got 3"),
        ({"command": ["bias.spread=1"]}, "set no key that command sets: got bias.spread"),
        ({"arms": {"one": ["a=1"], "two": ["a=1"]}}, "arms must differ"),
        ({"statistics": [STATISTIC, STATISTIC]}, "each statistic needs a name of its own"),
        ({"statistics": []}, "statistics: Tuple should have at least 1 item"),
        ({"controls": [{"overrides": ["a=1"], "expect": "yes"}]}, "controls.0.expect: Input should be 'reproduced'"),
    ],
)
def test_a_mistake_in_a_finding_is_named(tmp_path, given, text):
    with pytest.raises(UsageError, match=text) as caught:
        load(tmp_path, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("of_statistic", "text"),
    [
        ({"metric": "recal"}, "there is no metric 'recal'"),
        ({"arm": "other"}, "there is no arm 'other': there are treated, plain"),
        ({"reduce": "median"}, "reduce: Input should be 'mean'"),
        *(({"generations": given}, "generations must be one, or") for given in ([3, 1], "last", 1.5, [1], -1, None)),
        *(({"metric": f"parameter/{rest}"}, "there is no metric") for rest in ("", "variance/x", "variance/-1")),
        *(({"reproduced": given}, "a region is .lowest, highest.") for given in ("small", [1, 2, 3], 0.1, [])),
        ({"contradicted": [None, -0.1]}, "a region is .lowest, highest."),
        *(({"reduce": reduce, "generations": 2}, "needs two generations: got 2") for reduce in ("slope", "rmst")),
        (
            {"reduce": "argmin", "arm": None, "minus": None, "over": "bias._target_"},
            "over needs a number in each arm, and arm treated sets bias._target_=a.B",
        ),
        ({"reproduced": [0.1, 0.5], "contradicted": [[0.4, 1]]}, r"overlap: \[0.1, 0.5\] and \[0.4, 1\]"),
        ({"reproduced": [0.1, 0.5], "contradicted": [[0.5, 1]]}, "overlap"),
        ({"reproduced": [0.5, 0.1]}, "a region is .lowest, highest."),
        ({"reproduced": [None, 0.1], "contradicted": []}, "0, which is no difference, must lie in the gap"),
        ({"contradicted": [[None, 0.05]]}, "0, which is no difference, must lie in the gap"),
        ({"expected": 0.5}, "either expected decides, or reproduced and contradicted do"),
        ({"reproduced": None, "contradicted": []}, "either expected decides, or reproduced and contradicted do"),
        ({"expected": "law", "reproduced": None, "contradicted": []}, "expected needs tier: exact: got analogue"),
        ({"expected": 0, "reproduced": None, "contradicted": []}, "expected must be law, or a finite number"),
        ({"reduce": "argmin"}, "over goes with reduce: argmin"),
        ({"reduce": "kendall"}, "other goes with reduce: kendall"),
        ({"minus": "treated"}, "minus another one or none"),
    ],
)
def test_a_mistake_in_a_statistic_is_named(tmp_path, of_statistic, text):
    with pytest.raises(UsageError, match=text) as caught:
        load(tmp_path, of_statistic=of_statistic)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [b"[1, 2", b"just text", b"", "claim: \u00e9".encode("latin-1"), b"a: 1\na: 2", b"[" * 5000, b"\0", b"a: !!x 1"],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=r"own\.yaml"):
        load_finding(path)


def test_findings_are_sorted_by_row_and_chosen_by_track():
    found = load_findings(track="cpu")
    assert [each.row for each in found] == sorted(each.row for each in found)
    assert load_findings(track="gpu") == [each for each in load_findings() if each.track == "gpu"]
