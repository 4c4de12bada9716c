"""Tables as data: the shipped ones, and any file of the user's, whose bad input is refused in one line."""

import logging
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from collapsar.cases.tables import sources as tables_module
from collapsar.config.command_line import as_typed, parse
from collapsar.config.composition import build, chain_name, file_checksum, settings
from collapsar.config.experiment import walk
from collapsar.data.causes.cause import plant_all
from collapsar.data.causes.recorded import LabelNoise
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import binding_settings
from tiny_chains import compose_settings
from tiny_tables import people

KNOWN = {"breast_cancer": (455, 114), "health_insurance": (16_152, 4_038)}
OF_THE_EXTRA = {"aids_trial": (1_711, 428, "lifelines"), "credit_default": (24_000, 6_000, "causaldata")}
MODEL = "model=gaussian"


def source(data, *overrides):
    return build(compose_settings(f"data={data}", MODEL, *overrides)).data


@pytest.fixture
def of_file(tmp_path):
    """`of_file(frame, "data.types={...}")` makes the source of a CSV file with these rows."""

    def make(frame, *overrides, target="ill"):
        path = tmp_path / "people.csv"
        frame.to_csv(path, index=False)
        return source("table", f"data.path={path}", f"data.target={target}", *overrides)

    return make


@pytest.mark.parametrize(("data", "sizes"), KNOWN.items())
def test_a_shipped_table_has_a_fixed_split(data, sizes):
    real = source(data).load()
    assert (len(real.train), len(real.test)) == sizes
    assert torch.equal(real.test.values, source(data).load().test.values)


@pytest.mark.parametrize(("data", "expected"), OF_THE_EXTRA.items())
def test_a_table_of_the_extra_has_a_fixed_split(data, expected):
    *sizes, package = expected
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    real = source(data).load()
    assert [len(real.train), len(real.test)] == sizes


@pytest.mark.parametrize("data", OF_THE_EXTRA)
def test_without_the_extra_one_line_says_how_to_install_it(data, monkeypatch):
    monkeypatch.setattr(tables_module, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"run pip install 'collapsar\[tabular\]', or choose data=breast_cancer"):
        source(data)


@pytest.mark.parametrize("data", KNOWN)
@pytest.mark.parametrize("scale", ["quantile", "standardise"])
def test_every_row_of_a_shipped_table_comes_back(data, scale):
    read = source(data, f"data.scale={scale}")
    frame, _ = read.rows()
    table, everything, _, _ = read.fitted
    decoded = table.decode(everything.values)
    for column in table.columns:
        if column.kind == "continuous":
            error = (decoded[column.name] - frame[column.name]).abs().max()
            assert error <= 1e-6 * (column.maximum - column.minimum)
        else:
            assert decoded[column.name].tolist() == frame[column.name].tolist()


@pytest.mark.parametrize("data", KNOWN)
def test_classes_have_their_own_proportions_in_every_set(data):
    real = source(data, "data.num_train=0.4").load()
    shares = [part.labels.float().mean().item() for part in (real.train, real.test, real.reserve)]
    assert max(shares) - min(shares) < 0.01


def test_a_subset_of_the_rows_leaves_the_rest_as_the_reserve():
    real = source("breast_cancer", "data.num_train=100").load()
    assert (len(real.train), len(real.reserve)) == (100, 355)


def test_visits_to_a_doctor_above_the_threshold_are_class_1():
    real = source("health_insurance", "data.threshold=5").load()
    visits = torch.tensor(real.table.decode(real.test.values).mdvis.to_numpy())
    assert torch.equal(real.test.labels, (visits > 5).long())


def test_labels_that_are_changed_stand_in_the_target_of_their_rows():
    real = source("breast_cancer").load()
    planted = plant_all({"label_noise": LabelNoise(fraction=0.3)}, real, seed=0)
    assert not torch.equal(planted.train.labels, real.train.labels)
    assert torch.equal(real.table.classes(planted.train.values), planted.train.labels)


def test_labels_that_follow_from_a_number_cannot_be_changed():
    with pytest.raises(UsageError, match=r"cause=label_noise changes labels, .* choose data with a category"):
        source("health_insurance", "cause=[label_noise]")


def test_an_image_model_of_a_table_is_refused_with_those_that_take_tables():
    with pytest.raises(UsageError, match="model=table_vae, table_gan and flow, and analytic models, take vectors"):
        build(compose_settings("data=breast_cancer", "model=vae"))


@pytest.mark.parametrize("model", ["table_vae", "table_gan"])
def test_a_table_model_of_images_is_refused_with_those_that_take_images(model):
    with pytest.raises(UsageError, match=f"model={model} takes vectors, .*: choose model=vae or gan"):
        build(compose_settings("data=digits", f"model={model}"))


def test_types_of_a_file_are_guessed(of_file):
    _, kinds = of_file(people()).rows()
    assert kinds == {"id": "count", "age": "count", "income": "continuous", "sex": "category", "ill": "category"}


def test_types_of_a_file_are_shown(of_file, caplog):
    with caplog.at_level(logging.INFO):
        of_file(people())
    (line,) = [line for line in caplog.messages if "Target: ill" in line]
    assert "continuous income; count id, age; category sex, ill" in line


def test_a_type_that_is_given_replaces_the_guess(of_file):
    _, kinds = of_file(people(), "data.types={age: continuous, sex: category}").rows()
    assert kinds["age"] == "continuous"


def test_an_identifier_never_reaches_the_encoder(of_file):
    table = of_file(people(), "data.identifiers=[id]").load().table
    assert "id" not in [column.name for column in table.columns]


def test_a_file_is_read_and_comes_back_with_what_is_missing(of_file):
    read = of_file(people(), "data.identifiers=[id]")
    table, everything, _, _ = read.fitted
    decoded, frame = table.decode(everything.values), people()
    assert decoded.income.isna().tolist() == frame.income.isna().tolist()
    assert decoded.income.dropna().tolist() == pytest.approx(frame.income.dropna().tolist())
    assert decoded.sex.tolist() == frame.sex.tolist()


def test_a_parquet_file_gives_the_rows_of_the_same_csv_file(tmp_path, of_file):
    pytest.importorskip("pyarrow")
    people().to_parquet(tmp_path / "people.parquet")
    of_parquet = source("table", f"data.path={tmp_path / 'people.parquet'}", "data.target=ill").load()
    assert torch.equal(of_parquet.train.values, of_file(people()).load().train.values)


def test_rows_without_a_target_are_left_out(of_file):
    frame = people()
    frame.loc[:4, "ill"] = None
    assert sum(vars(of_file(frame).sizes).values()) == 55


def test_a_target_of_numbers_has_no_classes_unless_there_is_a_threshold(of_file):
    assert of_file(people(), target="age").num_classes == 0
    assert of_file(people(), "data.threshold=40", target="age").num_classes == 2


def test_the_shape_of_a_file_is_told_to_its_model(tmp_path):
    people().to_csv(tmp_path / "people.csv")
    experiment = build(
        compose_settings("data=table", "model=kde", f"data.path={tmp_path / 'people.csv'}", "data.target=ill")
    )
    assert experiment.parts.recipe.model().num_dimensions == experiment.data.load().train.values.shape[1]


@pytest.mark.parametrize(
    ("frame", "overrides", "refusal"),
    [
        (people(), ["data.target=nothing"], "data.target must be one of id, age, .*: got nothing"),
        (people(), ["data.target=null"], "data.target must be one of id, .*: got nothing"),
        (people(), ["data.identifiers=[ill]"], "data.target must be one of id, age, income, sex: got ill"),
        (people().assign(ill="yes"), [], "data.target=ill must give at least two classes: got one"),
        (people().assign(ill=np.nan), [], "data.target=ill has no value in any row"),
        (people().assign(ill=["rare"] + ["no"] * 59), [], "at least two rows of each class: got one of rare"),
        (people().iloc[:0], [], "has no rows"),
        (people().assign(note=np.nan), [], r"column note has no value in any row; set data.identifiers=\[note\]"),
        (people().assign(name=[f"n{i}" for i in range(60)]), [], "column name holds text of 60 different values"),
        (people().assign(age=[np.inf, *range(59)]), [], "column age must hold finite numbers"),
        (people(), ["data.types={height: count}"], "data.types must be one of id, .*: got height"),
        (people(), ["data.types={age: number}"], "data.types.age must be one of continuous, count, category"),
        (people(), ["data.types={income: count}"], "column income must hold whole numbers from 0 up"),
        (people(), ["data.types={sex: count}"], "column sex must hold finite numbers to be count: got f"),
        (people(), ["data.identifiers=[name]"], "data.identifiers must be one of id, .*: got name"),
        (people(), ["data.threshold=3"], "data.threshold is of numbers, and data.target=ill is a category"),
        (people(), ["data.target=age", "data.threshold=99"], "data.threshold=99 must give at least two classes"),
        (people(), ["data.test_fraction=0.0"], "data.test_fraction must leave a row of each class"),
        (people(), ["data.num_train=1000"], "data.num_train must be 48"),
        (people(), ["data.scale=log"], "data.scale"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(frame, overrides, refusal, of_file):
    with pytest.raises(UsageError, match=refusal) as caught:
        of_file(frame, *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("null", "data=table needs a file: set data.path"),
        ("absent.csv", "data.path must be a file: there is no absent.csv"),
        ("people.xlsx", "data.path must end in .csv or .parquet: got people.xlsx"),
    ],
)
def test_a_file_that_there_is_not_is_refused_in_one_line(path, refusal):
    with pytest.raises(UsageError, match=refusal):
        source("table", f"data.path={path}", "data.target=ill")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00bad", b"PAR1 is no table"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_that_is_damaged_is_refused_in_one_line(content, suffix, tmp_path):
    path = tmp_path / f"people.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        source("table", f"data.path={path}", "data.target=ill")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "overrides"),
    [
        ("0,1,2,3", ["data.target=3"]),
        ("0,1,2,3", ["data.target='3'", "data.types={0: continuous}", "data.identifiers=[1]"]),
        ("2020_01,2020_02,city,ill", ["data.target=ill", "data.identifiers=[2020_01]"]),
        ("a=b,größe,city,ill", ["data.target=ill", "data.types=['größe: continuous']", "data.identifiers=['a=b']"]),
    ],
)
def test_names_of_columns_are_text_wherever_they_are_typed(header, overrides, tmp_path):
    rows = "".join(f"{20 + i},{i},{['Oslo', 'Bodo'][i % 2]},{'yn'[i % 2]}\n" for i in range(40))
    (tmp_path / "people.csv").write_text(f"{header}\n{rows}")
    table = source("table", f"data.path={tmp_path / 'people.csv'}", *overrides).load().table
    assert {column.name for column in table.columns} <= {*header.split(",")}
    assert table.class_names == ("n", "y")


@pytest.mark.parametrize("override", ["data.target=nan", "data.identifiers=[nan]", "data.missing=[NA,NaN]"])
def test_a_word_that_looks_like_no_number_is_a_word_for_the_command_and_no_number_in_yaml(override, of_file):
    assert not any(isinstance(value, float) for _, value in walk(parse(as_typed(override, may_sweep=False)).value()))
    with pytest.raises(UsageError, match="must be a finite number: got nan"):
        of_file(people(), override)


def test_a_chain_is_named_by_the_content_of_its_table_and_not_by_where_it_lies(tmp_path):
    def name(path):
        return chain_name(_root_=compose_settings("data=table", MODEL, f"data.path={path}", "data.target=ill"))

    first, moved, other = (tmp_path / name for name in ("first.csv", "moved.csv", "other.csv"))
    people().to_csv(first)
    people().to_csv(moved)
    people(59).to_csv(other)
    assert name(first) == name(moved) != name(other)


def test_how_a_file_is_read_binds_a_chain_only_where_it_was_set(tmp_path):
    people().to_csv(tmp_path / "people.csv")
    chosen = ["data=table", MODEL, f"data.path={tmp_path / 'people.csv'}", "data.target=ill"]

    def binding(*overrides):
        return {key for key in binding_settings(settings(compose_settings(*chosen, *overrides))) if key[:5] == "data."}

    before = {
        "data._target_",
        "data.checksum",
        "data.target",
        "data.max_categories",
        "data.test_fraction",
        "data.scale",
    }
    assert binding() == before
    assert binding("data.separator=tab", "data.missing=[NA]") == {*before, "data.separator", "data.missing"}


def test_the_checksum_of_no_file_is_nothing(tmp_path):
    assert file_checksum(None) is None
    assert file_checksum(str(tmp_path / "absent.csv")) is None
