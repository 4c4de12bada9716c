"""Records survive the way to a line and back, and a damaged line is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import line_with_checksum
from collapsar.foundations.record import GenerationRecord

RECORD = GenerationRecord(
    generation=3,
    seed=0,
    data="digits",
    model="vae",
    regime="replace",
    pool={"size": 1437, "real_fraction": 0.0, "origins": {"2": 1437}},
    num_evaluated=360,
    num_real=360,
    metrics={"fid": 31.2, "recall": 0.18, "pca/recall": 0.11},
    seconds={"train": 1.9, "sample": 0.1, "evaluate": 0.4},
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text(max_size=5)


@settings(max_examples=30)
@given(metrics=st.dictionaries(KEYS, NUMBERS), shares=st.dictionaries(KEYS, st.lists(NUMBERS, max_size=3)))
def test_a_record_survives_the_way_to_a_line_and_back(metrics, shares):
    record = replace(RECORD, metrics=metrics, class_shares=shares)
    assert GenerationRecord.from_json(record.to_json()) == record


def test_a_record_is_one_line():
    assert "\n" not in replace(RECORD, data="two\nlines").to_json()


def test_a_line_from_before_there_were_two_sizes_is_small():
    content = json.loads(replace(RECORD, size="full").to_json())
    del content["checksum"]
    assert GenerationRecord.from_json(json.dumps(content)).size == "full"
    del content["size"]
    assert GenerationRecord.from_json(json.dumps(content)).size == "small"


def test_a_line_holds_the_keys_of_the_contract():
    line = json.loads(RECORD.to_json())
    contract = ("generation", "seed", "data", "model", "regime", "size", "pool", "num_evaluated", "metrics", "seconds")
    assert set(contract) <= line.keys()


def test_empty_optional_parts_are_left_out():
    line = json.loads(RECORD.to_json())
    assert not {"fitted", "class_shares", "feature_spaces", "training"} & line.keys()


def test_values_keep_every_bit():
    record = replace(RECORD, metrics={"fid": 0.1 + 0.2})
    assert GenerationRecord.from_json(record.to_json()).metrics["fid"] == 0.1 + 0.2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_is_never_written(bad):
    with pytest.raises(ValueError, match="JSON"):
        replace(RECORD, metrics={"fid": bad}).to_json()


def test_keys_of_a_later_version_are_ignored():
    content = json.loads(RECORD.to_json()) | {"invented_later": 1}
    del content["checksum"]
    line = line_with_checksum(json.dumps(content))
    assert GenerationRecord.from_json(line) == RECORD


@pytest.mark.parametrize("line", ["", "3", "null", "[]", '{"generation": 0}', RECORD.to_json()[:60]])
def test_a_damaged_line_is_refused(line):
    with pytest.raises(UsageError, match="not a generation record"):
        GenerationRecord.from_json(line)
