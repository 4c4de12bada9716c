"""Files of users: nothing vanishes, shifts or changes in silence. What is done is said; what cannot be is refused."""

import csv
import logging
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from collapsar.cases.tables.csv_file import from_frame
from collapsar.cases.tables.numerals import Signs
from collapsar.foundations.errors import UsageError
from user_tables import as_csv, table_file, with_column, write_text

LINES = range(40)
WORDS = ["NA", "null", "nan", ""]


@pytest.fixture
def read(tmp_path, caplog):
    """`read(text, separator=...)` gives the source of a CSV file, and the lines that were said."""

    def make(text, *, encoding="utf-8", name="file.csv", **own):
        path = write_text(tmp_path / name, text, encoding=encoding)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            source = table_file(path, **own)
        assert 0 < len(caplog.messages) <= 5
        return source, "\n".join(caplog.messages)

    return make


def refused(read, text, **own):
    """The one line that refuses a file."""
    with pytest.raises(UsageError) as caught:
        read(text, **own)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def column(source, name="x"):
    return source.rows()[0][name].tolist()


def test_whole_numbers_that_float64_rounds_are_refused_by_the_name_of_their_column(read):
    text = with_column("tweet", [1212092628029698048 + 9876543210123 * place for place in LINES])
    line = refused(read, text)
    assert line.startswith("column tweet holds whole numbers that float64 rounds, such as 1212092628029698048")
    assert "data.identifiers=[tweet]" in line


def test_whole_numbers_that_float64_rounds_are_categories_digit_by_digit(read):
    cells = [str(1212092628029698048 + place % 3) for place in LINES]
    assert column(read(with_column("x", cells), types={"x": "category"})[0]) == cells


def test_rounding_that_was_asked_for_is_counted(read):
    _, said = read(with_column("x", [2**53 + 1 + place for place in LINES]), types={"x": "continuous"})
    assert "x: 9007199254740993 and 19 other numbers are rounded to float64" in said


def test_a_field_may_be_as_long_as_a_book(read):
    notes = ["long " * 40_000, "short"]
    text = "note,ill\n" + "".join(f"{notes[i % 2]},{'yn'[i // 2 % 2]}\n" for i in LINES)
    source, _ = read(text)
    assert column(source, "note") == [notes[i % 2].strip() for i in LINES] or column(source, "note") == [
        notes[i % 2] for i in LINES
    ]


@pytest.mark.parametrize("end", ["", ","])
def test_a_separator_at_the_end_of_every_line_shifts_nothing(end, read):
    text = f"age,income,city,ill{end}\n" + "".join(f"{i},{1000 + i},{['Oslo', 'Bodo'][i % 2]},y,\n" for i in LINES)
    source, said = read(text, target="city", identifiers=["ill"])
    assert (column(source, "age"), column(source, "income")) == ([*LINES], [1000 + i for i in LINES])
    assert "left out: " in said


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("1,2,3,y,5", "line 42 has 5 fields, separated by comma, and the header names 4 columns"),
        ("1,2,y", "line 42 has 3 fields"),
        ("1,2,3,y,", "line 42 has 5 fields"),
        ('1,2,"3,y', "line 42: unexpected end of data; a quote is opened and not closed"),
    ],
)
def test_a_line_of_other_fields_than_the_header_is_refused_by_its_number(line, refusal, read):
    rows = "".join(f"{i},{i},{i},{'yn'[i % 2]}\n" for i in LINES)
    assert refusal in refused(read, f"a,b,c,ill\n{rows}{line}\n")


def test_rows_with_names_that_the_header_does_not_name_are_refused(read):
    assert "name the first column too" in refused(read, "a,ill\n" + "".join(f"r{i},{i},y\n" for i in LINES))


def test_two_columns_of_one_name_are_refused(read):
    text = "a, a,ill\n" + "".join(f"{i},{i},{'yn'[i % 2]}\n" for i in LINES)
    assert "columns 1 and 2 are both named a" in refused(read, text)


@pytest.mark.parametrize(("typed", "name"), [(3, "3"), ("3", "3"), (202001, "2020_01"), (1e5, "1e5"), (True, "true")])
def test_a_name_that_was_read_as_a_number_finds_its_column(typed, name, read):
    header = ["0", "3", "2020_01", "1e5", "true", "x"]
    text = as_csv(header, [[str(place % 2)] * len(header) for place in LINES])
    assert read(text, target=typed)[0].target == name
    assert name not in read(text, target="x", identifiers=[typed])[0].rows()[1]
    assert read(text, target="x", types={typed: "count"})[0].rows()[1][name] == "count"
    assert read(text, target="x", types=[f"{name}: count"])[0].rows()[1][name] == "count"


def test_a_number_that_names_no_column_is_refused_with_how_to_type_one(read):
    line = refused(read, with_column("2020_01", LINES), target=202002)
    assert """must be one of '2020_01', ill: got 202002; put a name""" in line
    assert """"data.target='2020_01'\"""" in line


def test_a_name_with_blanks_around_it_is_found(read):
    source, _ = read(" age , my income ,ill\n" + "".join(f"{i},{i},{'yn'[i % 2]}\n" for i in LINES))
    assert list(source.rows()[1]) == ["age", "my income", "ill"]


def test_a_target_of_numbers_says_that_it_has_no_classes_and_what_to_set(read):
    _, said = read(with_column("species", [i % 3 for i in LINES]), target="species")
    assert "Target: species, which is a number and has no classes" in said
    assert "set data.types={species: category} or data.threshold=NUMBER" in said


@pytest.mark.parametrize(("separator", "shown"), [(";", "; (semicolon)"), ("\t", "tab"), ("|", "| (pipe)")])
def test_the_separator_is_found_out_and_said(separator, shown, read):
    source, said = read(with_column("x", [f"{i},5" for i in LINES], separator=separator))
    assert column(source) == [i + 0.5 for i in LINES]
    assert f"40 rows of 2 columns, separated by {shown}" in said
    assert "the decimal sign is a comma: 0,5 in x is read as 0.5" in said


def test_a_file_that_two_separators_fit_is_refused(read):
    text = "a;b,ill\n" + "".join(f"{i};1,{'yn'[i % 2]}\n" for i in LINES)
    assert "separated by comma (2 columns) or semicolon (2 columns): set data.separator" in refused(read, text)


def test_numbers_that_may_have_a_thousands_sign_are_refused_with_both_readings(read):
    text = with_column("x", [f"1,{100 + i}" for i in LINES])
    line = refused(read, text)
    assert "data.decimal=comma to read it as 1.1" in line
    assert "data.thousands=comma to read it as 1100.0" in line
    assert column(read(text, thousands="comma")[0]) == [1100 + i for i in LINES]
    assert column(read(text, decimal=",")[0]) == [float(f"1.{100 + i}") for i in LINES]
    assert column(read(text, types={"x": "category"})[0]) == [f"1,{100 + i}" for i in LINES]


def test_a_file_with_two_decimal_signs_is_refused(read):
    text = as_csv(["a", "b", "ill"], [[f"{i}.5", f"{i},5", "yn"[i % 2]] for i in LINES])
    assert "column a holds 0.5, which may be a number" in (line := refused(read, text))
    assert "data.decimal=point to read it as 0.5" in line
    assert "column a holds 0.5, which may be a number" in refused(read, text, decimal="comma")
    assert "column b holds 0,5, which may be a number" in refused(read, text, decimal="point")


def test_a_word_that_is_taken_for_missing_is_counted(read):
    cells = [["None", "some", "much", "NA"][i % 4] for i in LINES]
    source, said = read(with_column("drinks", cells))
    assert "taken for missing values: None 10 (drinks), NA 10 (drinks)" in said
    assert column(source, "drinks")[:4] == [None, "some", "much", None]


def test_a_word_that_others_take_for_missing_can_be_kept(read):
    cells = [["None", "some", "nan", "NA"][i % 4] for i in LINES]
    assert column(read(with_column("x", cells), missing=["NA"])[0])[:4] == ["None", "some", "nan", None]


def test_a_number_can_stand_for_missing(read):
    cells = [["-999", "-999.0", "3", "4"][i % 4] for i in LINES]
    assert pd.isna(column(read(with_column("x", cells), missing=[-999])[0])[:2]).all()


def test_an_odd_word_among_numbers_is_named(read):
    text = with_column("x", ["?" if i == 7 else i for i in LINES])
    assert "x is text: ? (1 row) is no number" in read(text)[1]
    assert "column x is text: ? (1 row) is no number" in refused(read, text, max_categories=20)
    assert "column x must hold finite numbers to be count: got ?" in refused(read, text, types={"x": "count"})
    assert read(text, missing=["?"])[0].rows()[1]["x"] == "count"


def test_types_are_judged_over_the_whole_file(read):
    num_rows = 30_000
    text = with_column("x", ["1"] * num_rows + ["one"])
    assert column(read(text)[0]) == ["1"] * num_rows + ["one"]


@pytest.mark.parametrize(
    ("cell", "refusal"),
    [
        ("1.8e308", "column x must hold finite numbers to be continuous: got inf"),
        ("inf", "column x must hold finite numbers to be continuous: got inf"),
        ("1e300", "column x holds 1e+300, and numbers may be at most 1e+60 in size"),
    ],
)
def test_numbers_that_are_too_large_are_refused_by_the_name_of_their_column(cell, refusal, read):
    line = refused(read, with_column("x", [cell if i == 3 else i + 0.5 for i in LINES]))
    assert refusal in line
    assert "data.identifiers=[x]" in line


def test_a_number_that_float64_takes_for_0_is_counted(read):
    _, said = read(with_column("x", ["1e-400" if i == 3 else i for i in LINES]))
    assert "x: 1e-400 and 0 other numbers are rounded to float64" in said


@pytest.mark.parametrize("scale", ["quantile", "standardise"])
def test_a_column_that_is_nearly_constant_comes_back(scale, read):
    cells = [1e9 + 1e-7 * i for i in LINES]
    source, _ = read(with_column("x", cells), scale=scale)
    table, everything, _, _ = source.fitted
    assert table.decode(everything.values).x.tolist() == pytest.approx(cells, rel=1e-15)


def test_a_number_too_far_from_the_training_rows_to_be_encoded_is_refused(read):
    *_, test = read(with_column("x", [i + 0.5 for i in LINES]))[0].fitted
    line = refused(read, with_column("x", [1e50 if i == test[0] else i + 0.5 for i in LINES]))
    assert line.startswith("column x holds 1e+50, too far from the numbers of the training rows")


def test_numbers_that_are_encoded_alike_are_counted(read):
    cells = [1e50 if i == 0 else i + 0.5 for i in LINES]
    train = read(with_column("x", LINES))[0].fitted[2]
    cells[0], cells[train[0]] = cells[train[0]], cells[0]
    _, said = read(with_column("x", cells), scale="standardise")
    assert "x: 38 of 40 different numbers are encoded like another one" in said


def test_a_column_without_a_value_in_the_held_out_rows_is_named(read):
    test = set(read(with_column("x", LINES))[0].fitted[3])
    source, said = read(with_column("x", ["" if i in test else i for i in LINES]))
    assert "x has no value in the held-out rows" in said
    assert sum(pd.isna(column(source))) == len(test)


@pytest.mark.parametrize("types", [None, {"town": "category"}])
def test_a_target_of_too_many_classes_is_refused_with_what_to_set(types, read):
    text = with_column("town", [f"t{i // 2}" for i in range(120)])
    line = refused(read, text, target="town", types=types)
    assert line.startswith("data.target=town has 60 classes, more than data.max_categories=50: ")
    assert "set data.max_categories=60, another target, or, for numbers, data.types={town: continuous}" in line
    own = {"target": "town", "max_categories": 60, "test_fraction": 0.5}
    assert read(text, types=types, **own)[0].num_classes == 60


def test_a_target_of_numbers_may_not_be_a_category_of_too_many_values(read):
    text = with_column("x", [i // 2 for i in range(120)])
    assert "data.target=x has 60 classes" in refused(read, text, target="x", types={"x": "category"})


def test_codes_with_leading_zeros_are_said_to_be_numbers_and_can_be_kept(read):
    text = with_column("zip", [f"{i % 9:05}" for i in LINES])
    assert "zip: 00000 is read as 0; set data.types={zip: category} for codes" in read(text)[1]
    assert column(read(text, types={"zip": "category"})[0], "zip") == [f"{i % 9:05}" for i in LINES]


def test_categories_that_look_alike_are_named(read):
    assert "x has 'Oslo' and 'oslo ' as two categories" in read(with_column("x", ["Oslo", "oslo "] * 20))[1]


def test_rows_and_lines_that_are_left_out_are_counted(read):
    rows = "".join(f"{i},{'' if i < 3 else 'yn'[i % 2]}\n" for i in LINES)
    source, said = read(f"\nx,ill\n\n{rows}\n")
    assert "left out: 3 blank lines; 3 rows without a value of the target ill" in said
    assert column(source) == [*LINES][3:]


def test_a_column_without_a_value_in_the_training_rows_is_refused(read):
    train = set(read(with_column("x", LINES))[0].fitted[2])
    line = refused(read, with_column("x", ["" if i in train else i for i in LINES]))
    assert line.startswith("column x has no value in the 32 training rows; set data.identifiers=[x]")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_encoding_that_a_file_tells_is_found_out(encoding, read):
    assert column(read(with_column("größe", ["å", "ø"] * 20), encoding=encoding)[0], "größe") == ["å", "ø"] * 20


def test_an_encoding_that_a_file_does_not_tell_is_refused_and_can_be_set(read):
    text = with_column("größe", ["å", "ø"] * 20)
    assert "line 1 holds a byte that is not utf-8 (0xf6): set data.encoding" in refused(read, text, encoding="cp1252")


def test_an_encoding_that_is_set_is_used(tmp_path):
    path = write_text(tmp_path / "file.csv", with_column("größe", ["å", "ø"] * 20), encoding="cp1252")
    assert column(table_file(path, encoding="cp1252"), "größe") == ["å", "ø"] * 20


@pytest.mark.parametrize(
    ("own", "refusal"),
    [
        ({"separator": "::"}, "data.separator must be one character, or one of comma, semicolon, tab"),
        ({"decimal": "x"}, "data.decimal must be one character"),
        ({"decimal": "comma", "thousands": ","}, "data.thousands and data.decimal must differ: got comma for both"),
        ({"encoding": "klingon"}, "data.encoding must be an encoding that Python knows: got klingon"),
        ({"missing": []}, "data.missing must hold a word"),
        ({"types": ["x"]}, "data.types must be {COLUMN: KIND} or a list of 'COLUMN: KIND': got x"),
        ({"identifiers": ["y"]}, "data.identifiers must be one of x, ill: got y"),
    ],
)
def test_settings_that_no_file_can_be_read_with_are_refused(own, refusal, tmp_path):
    path = write_text(tmp_path / "file.csv", with_column("x", LINES))
    with pytest.raises(UsageError) as caught:
        table_file(path, **own)
    assert refusal in str(caught.value)


def test_a_separator_that_was_not_found_is_asked_for(read):
    text = with_column("x", LINES, separator="~")
    assert "set data.separator if the file should have more columns" in refused(read, text)
    assert column(read(text, separator="~")[0]) == [*LINES]


def of_frame(path, values, **own):
    """The source of a Parquet file with these values beside a target."""
    pytest.importorskip("pyarrow")
    pd.DataFrame({"x": values, "ill": ["yes", "no"] * (len(values) // 2)}).to_parquet(path / "file.parquet")
    return table_file(path / "file.parquet", **own)


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([[1, 2]] * 40, "[1 2]"),
        ([{"a": 1}] * 40, "{'a': 1}"),
        ([b"ab", b"cd"] * 20, "b'ab'"),
        ([date(2020, 1, 1 + place % 20) for place in LINES], "2020-01-01"),
        ([datetime(2020, 1, 1 + place % 20) for place in LINES], "2020-01-01 00:00:00"),
        ([timedelta(days=place) for place in LINES], "0 days 00:00:00"),
    ],
)
def test_values_that_are_no_numbers_and_no_texts_are_refused_by_the_name_of_their_column(values, held, tmp_path):
    with pytest.raises(UsageError) as caught:
        of_frame(tmp_path, values)
    refusal = f"column x holds {held}, which is neither a number nor text; set data.identifiers=[x]"
    assert str(caught.value).startswith(refusal)
    assert "x" not in of_frame(tmp_path, values, identifiers=["x"]).rows()[1]


@pytest.mark.parametrize(
    ("values", "expected", "kind"),
    [
        ([Decimal(place) / 10 for place in LINES], [place / 10 for place in LINES], "continuous"),
        (pd.array([None, *LINES][:40], dtype="Int64"), [pd.NA, *LINES][:40], "count"),
        (pd.array([True, None] * 20, dtype="boolean"), ["True", None] * 20, "category"),
        (pd.Categorical(["b", "a"] * 20, categories=["b", "a", "c"]), ["b", "a"] * 20, "category"),
        (["1", "02"] * 20, ["1", "02"] * 20, "category"),
        (np.arange(40, dtype=np.float32) / 4, [place / 4 for place in LINES], "continuous"),
        (np.arange(40, dtype=np.uint8), [*LINES], "count"),
        (["", "NA"] * 20, ["", "NA"] * 20, "category"),
    ],
)
def test_what_a_parquet_file_holds_is_kept(values, expected, kind, tmp_path):
    frame, kinds = of_frame(tmp_path, values).rows()
    assert kinds["x"] == kind
    assert frame.x.tolist() == expected


def test_whole_numbers_beside_missing_ones_in_parquet_lose_no_digits(tmp_path):
    values = pd.array([2**53 + 1, None] * 20, dtype="Int64")
    with pytest.raises(UsageError, match="column x holds whole numbers that float64 rounds, such as 9007199254740993"):
        of_frame(tmp_path, values)
    assert of_frame(tmp_path, values, types={"x": "category"}).rows()[0].x[0] == "9007199254740993"


def test_the_named_index_of_a_frame_is_a_column_and_another_is_said_to_be_left_out():
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index([7, 8], name="id"))
    assert list(from_frame(frame).frame) == ["id", "x"]
    assert from_frame(frame.rename_axis(None)).left_out == ("the index, which has no name",)
    assert from_frame(frame.reset_index(drop=True)).left_out == ()


def numbers(decimal, thousands):
    """Numbers as a file writes them, and what they are."""
    whole = st.integers(-(10**7), 10**7)
    sizes = st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(1, 6))

    def grouped(number):
        return f"{number:,}".replace(",", thousands or "")

    def of_parts(parts):
        front, back, width = parts
        back %= 10**width
        return f"{grouped(front)}{decimal}{back:0{width}}", float(f"{front}.{back:0{width}}")

    return st.one_of(
        st.lists(whole.map(lambda number: (grouped(number), float(number))), min_size=1),
        st.lists(sizes.map(of_parts), min_size=1),
        st.floats(-1e50, 1e50).map(lambda number: [(repr(number).replace(".", decimal), number)]),
    )


TEXTS = st.text(st.sampled_from("abxyzÅé ,;|\t\"'\n.-0"), max_size=6).map("w{}".format)


@st.composite
def drawn_files(draw):
    """The text of a file, the settings that it is read with, and what stands in its columns."""
    separator, decimal = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(".,"))
    thousands = draw(st.none() | st.sampled_from([sign for sign in ",.' " if sign != decimal]))
    words = draw(st.lists(st.sampled_from(["NA", "null", "-", "", "None"]), min_size=1, unique=True))
    num_rows, columns = draw(st.integers(8, 20)), {}
    for place in range(draw(st.integers(1, 4))):
        pool = draw(
            numbers(decimal, thousands) | st.lists(TEXTS, min_size=1).map(lambda texts: [(t, t) for t in texts])
        )
        pool += [(word, None) for word in words] * draw(st.booleans())
        name = draw(st.text(st.sampled_from("aé =.2_,'[\""), min_size=1, max_size=4)).strip()
        columns[f"{name}{place}"] = draw(st.lists(st.sampled_from(pool), min_size=num_rows, max_size=num_rows))
    columns["ill"] = [("yn"[place % 2],) * 2 for place in range(num_rows)]
    header = draw(st.permutations(list(columns)))
    text = as_csv(
        header,
        [[columns[name][row][0] for name in header] for row in range(num_rows)],
        separator=separator,
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
    )
    if draw(st.booleans()):
        told = {"separator": separator, "decimal": decimal, "thousands": thousands, "missing": words}
        told["encoding"] = draw(st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-8-sig"]))
        return text, told, told["encoding"], columns
    assume(not {"-", "None"} & set(words))
    cells = [cell for column in columns.values() for cell in column if isinstance(cell[1], float)]
    assume(all(float(written) == value for written, value in cells if Signs().read(written)))  # else it has to be told
    return text, {}, draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig"])), columns


def check_file(drawn, folder):
    """A file is refused in one line, or all that a model gets of it stands in the file."""
    text, told, encoding, columns = drawn
    path = write_text(folder / "file.csv", text, encoding=encoding)
    try:
        source = table_file(path, **told)
    except UsageError as error:
        is_fair = "\n" not in str(error) and (not told or "has no value" in str(error))
        if is_fair:
            return
        raise
    frame, kinds = source.rows()
    table, everything, train, _ = source.fitted
    decoded = table.decode(everything.values)
    assert set(kinds) == set(columns)
    signs = Signs(told.get("decimal", "."), told.get("thousands"))
    for name, cells in columns.items():
        expected = [value for _, value in cells]
        if kinds[name] == "category":
            for place, (written, value) in enumerate(cells):
                kept = frame[name][place]
                assert kept == decoded[name][place]
                assert (kept is None) if value is None else kept == written or float(signs.plain(kept)) == value
            continue
        given = pd.Series([np.nan if value is None else value for value in expected], dtype=np.float64)
        assert frame[name].astype("Float64").equals(given.astype("Float64"))
        assert decoded[name].astype("Float64")[train].equals(given.astype("Float64")[train])


ONE_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(ONE_FOLDER, max_examples=40)
@given(drawn_files())
def test_every_value_that_a_model_gets_stands_in_the_file(tmp_path, drawn):
    check_file(drawn, tmp_path)


@pytest.mark.slow
@settings(ONE_FOLDER, max_examples=500)
@given(drawn_files())
def test_every_value_that_a_model_gets_stands_in_the_file_of_many_more(tmp_path, drawn):
    check_file(drawn, tmp_path)
