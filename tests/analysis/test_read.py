"""Reading real data files, and the message for everything that can be wrong with them."""

from __future__ import annotations

import decimal
import gzip
import sys

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from simstudy.analysis.read import check_data, read_data
from simstudy.errors import DataError
from simstudy.model.twolevel import TwoLevelModel

MEDIATION = "level: within\n y ~ bw*m\nlevel: between\n m ~ a*z\n y ~ bb*m + c*z"
MODEL = TwoLevelModel.from_syntax(MEDIATION)


def school_data(n_clusters: int = 30, size: int = 4, seed: int = 1) -> pd.DataFrame:
    """Two level-1 variables m and y, one level-2 variable z."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_clusters), size)
    z = rng.normal(size=n_clusters)[school]
    m = z + rng.normal(size=n_clusters)[school] + rng.normal(size=len(school))
    y = m + rng.normal(size=n_clusters)[school] + rng.normal(size=len(school))
    return pd.DataFrame({"school": school, "z": z, "m": m, "y": y, "unused": "text"})


def problems_of(data: pd.DataFrame, model: TwoLevelModel | str = MODEL, cluster: str = "school", **options: str) -> str:
    model = TwoLevelModel.from_syntax(model) if isinstance(model, str) else model
    with pytest.raises(DataError) as caught:
        check_data(data, model, cluster, **options)
    return "\n".join(caught.value.problems)


# ---------------------------------------------------------------------- files


EXPECTED = pd.DataFrame({"g": [1, 1, 2], "x": [0.5, np.nan, -1.25], "y": [3.0, 4.5, np.nan]})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "g,x,y\n1,0.5,3\n1,NA,4.5\n2,-1.25,NA\n"),
        ("a.csv", "\ufeffg,x,y\r\n1,0.5,3\r\n1,.,4.5\r\n2,-1.25,\r\n"),
        ("a.csv", '"g";"x";"y"\n1;0,5;3\n1;NA;4,5\n2;-1,25;NA\n'),
        ("a.csv", "g;x;y\n1;0.5;3\n1;;4.5\n2;-1.25;.\n"),
        ("a.tsv", "g\tx\ty\n1\t0,5\t3\n1\tNA\t4,5\n2\t-1,25\t\n"),
        ("a.txt", '"g" "x" "y"\n"1" 1 0.5 3\n"2" 1 NA 4.5\n"3" 2 -1.25 NA\n'),  # write.table of R, with row names
        ("a.dat", " g    x     y\n 1  0.5   3\n 1  .     4.5\n 2 -1.25  NA\n"),
        ("a.csv", "g|x|y\n1|0.5|3\n1|NA|4.5\n2|-1.25|NA\n"),
        ("a.csv", '"","g","x","y"\n"1",1,0.5,3\n"2",1,NaN,4.5\n"3",2,-1.25,NA\n'),  # write.csv of R
        ("a.csv", "g,x,y\n1,0.5,3,\n1,NA,4.5,\n2,-1.25,NA,\n"),  # a delimiter too many
        ("a.csv", "g, x, y\n1, 0.5, 3\n1, NA, 4.5\n\n2, -1.25, NA\n"),
    ],
)
def test_text_files(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    data = read_data(tmp_path / name)
    pd.testing.assert_frame_equal(data[["g", "x", "y"]], EXPECTED, check_dtype=False)


def test_a_compressed_file_and_an_old_encoding(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("g;größe\nä;1,5\n".encode("cp1252")))
    data = read_data(tmp_path / "a.csv.gz")
    assert data.to_dict("list") == {"g": ["ä"], "größe": [1.5]}


def test_a_code_stays_a_number_and_a_name_may_be_text(tmp_path):
    (tmp_path / "a.csv").write_text("g,x\nnorth,-99\nsouth,1\nNone,2\n")
    assert read_data(tmp_path / "a.csv")["x"].tolist() == [-99, 1, 2]
    assert read_data(str(tmp_path / "a.csv"))["g"].tolist() == ["north", "south", "None"]


def test_parquet_and_stata(tmp_path):
    EXPECTED.set_index("g").to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_data(tmp_path / "a.parquet"), EXPECTED)
    labelled = EXPECTED.assign(sex=pd.Categorical(["female", "male", "female"]))
    labelled.to_stata(tmp_path / "a.dta", write_index=False)
    data = read_data(tmp_path / "a.dta")
    pd.testing.assert_frame_equal(data[["g", "x", "y"]], EXPECTED, check_dtype=False)
    assert data["sex"].tolist() == [0, 1, 0]  # codes, not labels


def test_spss(tmp_path):
    """Labelled values stay numbers; what the file declares missing is missing; labels are kept."""
    data = EXPECTED.assign(y=[3.0, 4.5, -99.0])
    labels = {"g": {1: "one"}, "y": {-99: "refused"}}
    pyreadstat.write_sav(data, tmp_path / "a.sav", variable_value_labels=labels, missing_ranges={"y": [-99]})
    found = read_data(tmp_path / "a.sav")
    pd.testing.assert_frame_equal(found, EXPECTED, check_dtype=False)
    assert found.attrs["variable_value_labels"] == labels


def test_stata_labels_are_kept_and_values_stay_numbers(tmp_path):
    EXPECTED.to_stata(tmp_path / "a.dta", write_index=False, value_labels={"g": {1: "one", 2: "two", 3: "three"}})
    found = read_data(tmp_path / "a.dta")
    assert found["g"].tolist() == [1, 1, 2]
    assert found.attrs["variable_value_labels"] == {"g": {1: "one", 2: "two"}}  # of values that occur


def test_excel(tmp_path):
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        EXPECTED.astype(object).where(EXPECTED.notna(), "NA").to_excel(book, sheet_name="pupils", index=False)
        EXPECTED.to_excel(book, sheet_name="notes")
    found = read_data(tmp_path / "a.xlsx")
    pd.testing.assert_frame_equal(found, EXPECTED, check_dtype=False)
    assert found.attrs["simstudy_notes"] == ("sheet 'pupils' was read, the first of 2",)


def test_excel_without_names_or_without_openpyxl_is_refused(tmp_path, monkeypatch):
    EXPECTED.to_excel(tmp_path / "a.xlsx")  # the index has no name
    with pytest.raises(DataError, match="first row of sheet 'Sheet1' must hold the column names; some are empty"):
        read_data(tmp_path / "a.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match="pip install openpyxl"):
        read_data(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("a.csv", b"g,x,y\n1,0.5,3\n", ()),
        ("a.csv", b"g;x;y\n1;0,5;3\n", ("columns are separated by semicolons; a comma was read as the decimal point",)),
        ("a.csv", b"g;x;y\n1;0.5;3\n", ("columns are separated by semicolons",)),
        ("a.tsv", b"g\tx\ty\n1\t0.5\t3\n", ()),
        ("a.csv", "g,x,y\n1,0.5,3\n".encode("utf-16"), ()),
        ("a.csv", "g,x,größe\n1,0.5,3\n".encode("cp1252"), ("the file is not UTF-8; it was read as Windows-1252",)),
    ],
)
def test_what_was_made_of_a_text_file_is_said(tmp_path, name, content, notes):
    (tmp_path / name).write_bytes(content)
    found = read_data(tmp_path / name)
    assert found["x"].tolist() == [0.5]
    assert found.attrs["simstudy_notes"] == notes


def test_spss_without_pyreadstat_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "a.sav").write_bytes(b"$FL2")
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(DataError, match="pip install pyreadstat"):
        read_data(tmp_path / "a.sav")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("schol.csv", None, r"there is no such file \(did you mean 'school.csv'\?\)"),
        ("folder/other.csv", None, "there is no such file"),
        ("school", None, "there is no such file"),
        ("a.xls", b"PK", "kind '.xls' are not read; allowed: .csv, .tsv.*save the sheet as .xlsx or CSV"),
        ("a.xlsx", b"PK", "cannot be read as an Excel sheet"),
        ("a.cvs", b"g,x\n1,2\n", r"did you mean '.csv'\?"),
        ("a.dta.gz", b"x", "kind '.dta.gz' are not read"),
        ("noname", b"g,x\n", "kind '' are not read"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"\n \n", "the file is empty"),
        ("a.csv", b"g,x,y\n", "column names but no rows"),
        ("a.csv", b"1,0.5,3\n1,2,3\n", "first line must hold the column names; found '1,0.5,3'"),
        ("a.csv", b"g,x\n1,2\n1,2,3\n", "cannot be read as delimited text: .*line 3"),
        ("a.csv", b"g,x\n1,0,5\n1,1,5\n2,2,5\n", "rows have 3 values but the first line has 2 names; .*decimal comma"),
        ("a.csv.gz", b"g,x\n1,2\n", "cannot be read as delimited text"),
        ("a.parquet", b"g,x\n1,2\n", "cannot be read as Parquet"),
        ("a.dta", b"g,x\n1,2\n", "cannot be read as Stata data"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / "school.csv").write_text("g,x\n1,2\n")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_data(tmp_path / name)
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    assert str(tmp_path / name) in caught.value.problems[0]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="this is a folder"):
        read_data(tmp_path)


# ---------------------------------------------------------------------- content


def test_good_data_come_back_with_the_columns_of_the_model_only():
    data = school_data().sample(frac=1.0, random_state=2)
    checked, notes = check_data(data, MODEL, "school")
    assert checked.columns.tolist() == ["school", *MODEL.variables]
    assert checked.index.tolist() == data.index.tolist()
    assert notes == ()
    np.testing.assert_array_equal(checked["y"], data["y"])
    np.testing.assert_array_equal(checked["school"], data["school"])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "bool", "category", "int8", "string", "object"])
def test_columns_of_any_numeric_type(dtype):
    data = school_data()
    expected = data["y"] = (data["y"] > 0).astype(int)
    data["y"] = data["y"].astype(bool).astype(dtype) if dtype in ("boolean", "bool") else data["y"].astype(dtype)
    checked, _ = check_data(data, MODEL, "school")
    assert checked["y"].dtype == float
    assert checked["y"].tolist() == expected.tolist()


def test_nullable_missing_values_and_decimals():
    data = school_data()
    data["y"] = pd.array(data["y"].round().astype(int), dtype="Int64")
    data.loc[3, "y"] = pd.NA
    data["m"] = [decimal.Decimal(f"{value:.3f}") for value in data["m"]]
    checked, notes = check_data(data, MODEL, "school")
    assert len(checked) == len(data) - 1
    assert "1 of 120 rows have missing values (y 1)" in notes[0]


@pytest.mark.parametrize("kind", ["int", "text", "category", "float", "date", "mixed"])
def test_clusters_of_any_type(kind):
    data = school_data()
    names = {
        "int": data["school"],
        "text": data["school"].map("school {}".format),
        "category": data["school"].map("school {}".format).astype("category"),
        "float": data["school"] + 0.5,
        "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(data["school"], unit="D"),
        "mixed": [f"s{k}" if k % 2 else k for k in data["school"]],
    }
    data["school"] = names[kind]
    checked, notes = check_data(data, MODEL, "school")
    assert checked["school"].tolist() == data["school"].tolist()
    assert notes == ()


def test_all_problems_of_columns_come_at_once():
    data = school_data().rename(columns={"z": "Zs", "school": "Shcool"})
    data["y"] = data["y"].astype(object)
    data.loc[16, "y"] = "n.a."
    data.loc[20, "y"] = "?"
    text = problems_of(data)
    assert (
        "there is no column 'z'; found: Shcool, Zs, m, y, unused. If it is a factor, it needs indicators: z =~ ..."
        in text
    )
    assert "there is no cluster column 'school' (did you mean 'Shcool'?); found: Shcool, Zs, m, y, unused" in text
    assert "column 'y' must hold numbers; row 17 has 'n.a.' (2 such values; missing values are written NA" in text
    assert text.count("\n") == 2


def test_problems_of_values_come_at_once_too():
    data = school_data()
    data["z"] = 3.0
    data.loc[5, "m"] = -np.inf
    data["y"] = np.nan
    data["school"] = data["school"].astype(float)
    data.loc[[7, 9], "school"] = np.nan
    text = problems_of(data)
    assert "column 'm' has infinite values, first in row 6" in text
    assert "every value of 'y' is missing" in text
    assert "cluster column 'school' is empty in 2 rows, first in row 8" in text
    assert "column 'z' is constant (3 in every row that is used)" in text


def test_duplicate_names(tmp_path):
    (tmp_path / "a.csv").write_text("school,m,y,z,y\n1,1,2,3,4\n1,2,2,3,4\n2,1,2,3,4\n")
    assert "2 columns are named 'y'" in problems_of(read_data(tmp_path / "a.csv"))
    data = school_data()
    assert "2 columns are named 'school'" in problems_of(pd.concat([data, data[["school"]]], axis=1))
    check_data(pd.concat([data, data[["unused"]]], axis=1), MODEL, "school")  # not needed, so not refused


def test_strings_dates_and_complex_numbers_in_a_numeric_column():
    data = school_data()
    assert "must hold numbers; row 1 has '1,5' (120 such values; a decimal comma" in problems_of(data.assign(y="1,5"))
    assert "holds dates or times" in problems_of(data.assign(y=pd.Timestamp("2024-01-01")))
    assert "holds complex numbers" in problems_of(data.assign(y=data["y"] + 1j))
    assert "must hold numbers; row 1 has 'low'" in problems_of(data.assign(y=pd.Categorical(["low", "high"] * 60)))


def test_the_cluster_column_is_no_variable():
    assert "'z' is the cluster column and a variable of the model" in problems_of(school_data(), cluster="z")


def test_no_rows():
    assert "there are no rows" in problems_of(school_data().iloc[:0])


def test_level_2_variable_that_varies():
    data = school_data()
    data["school"] = data["school"].map("school {}".format)
    data.loc[22, "z"] = 9.0
    text = problems_of(data)
    assert "level-2 variable 'z' varies within 1 cluster: cluster 'school 5' has" in text
    assert "and 9; give it one value a cluster" in text


def test_rounding_of_a_level_2_variable_is_forgiven():
    data = school_data()
    noisy = data.assign(z=data["z"] * (1.0 + 1e-15 * np.arange(len(data)) % 3))
    checked, _ = check_data(noisy, MODEL, "school")
    assert (checked.groupby("school")["z"].nunique() == 1).all()


def test_level_1_variable_that_does_not_vary_within_clusters():
    data = school_data()
    data["m"] = data["z"] * 2 + 1
    assert "'m' stands in the within block but is the same in all rows of every cluster" in problems_of(data)


def test_clusters_too_few_or_too_small():
    data = school_data()
    assert "there is only one cluster: all 120 rows have the same 'school'" in problems_of(data.assign(school="A"))
    rows = problems_of(data.assign(school=range(len(data))))
    assert "each of the 120 clusters has one row" in rows
    text = problems_of(school_data(3, 10))
    assert "3 clusters are too few for 3 between variables" in text


def test_collinear_within_and_between():
    data = school_data(40)
    data["x"] = data["m"] + 2 * data["y"] - 7
    model = "level: within\n y ~ m + x\nlevel: between\n y ~ m + x"
    text = problems_of(data, model)
    assert "'y', 'm', 'x' are perfectly collinear within clusters: x = 2 y + m, up to a constant" in text
    assert text.count("\n") == 0  # once, although they are collinear between clusters too
    data["w"] = 1 - data["z"]
    text = problems_of(data, "level: within\n y ~ m\nlevel: between\n y ~ z + w")
    assert "'z', 'w' are perfectly collinear between clusters: w = - z, up to a constant" in text


def test_a_manifest_cluster_mean_beside_its_variable():
    data = school_data(40)
    data["z"] = data.groupby("school")["m"].transform("mean")
    text = problems_of(data)
    assert "perfectly collinear between clusters: z = mean(m), up to a constant" in text


def test_a_variable_centred_within_clusters_has_no_between_part():
    data = school_data(40)
    data["m"] -= data.groupby("school")["m"].transform("mean")
    assert "the cluster means of 'm' are all the same" in problems_of(data)
    check_data(data, TwoLevelModel.from_syntax("level: within\n y ~ m\nlevel: between\n y ~ z"), "school")


def test_nearly_collinear_is_not_refused():
    data = school_data(40)
    data["x"] = (data["m"] + data["y"]).round(3)
    model = TwoLevelModel.from_syntax("level: within\n y ~ m + x\nlevel: between\n y ~ m + x")
    assert check_data(data, model, "school")[1] == ()


def test_listwise_counts_what_is_lost():
    data = school_data()
    data.loc[[0, 1, 2, 3, 9], "m"] = np.nan
    data.loc[[9, 20], "y"] = np.nan
    checked, notes = check_data(data, MODEL, "school")
    assert len(checked) == 114
    assert notes[0].startswith(
        "6 of 120 rows have missing values (y 2, m 5) and are left out, and with them all of 1 clu"
    )
    assert "--missing fiml" in notes[0]
    assert not checked.isna().to_numpy().any()


def test_fiml_keeps_incomplete_rows():
    data = school_data()
    data.loc[[0, 9], "m"] = np.nan
    data.loc[[4, 5], "z"] = np.nan
    data.loc[8:11, "z"] = np.nan
    checked, notes = check_data(data, MODEL, "school", "fiml")
    assert len(checked) == 120
    assert checked[["y", "m", "z"]].isna().sum().tolist() == [0, 2, 4]  # z is known of the cluster of rows 4 and 5
    assert notes == ("'z' was missing in 2 rows whose cluster has a value: it was taken",)
    assert np.isnan(data["z"][4])  # the user's data are left alone


def test_no_complete_row():
    data = school_data()
    data["m"] = data["m"].where(data.index % 2 == 0)
    data["y"] = data["y"].where(data.index % 2 == 1)
    assert "every row has a missing value" in problems_of(data)
    assert len(check_data(data, MODEL, "school", "fiml")[0]) == 120


def test_single_row_clusters_are_counted():
    data = school_data()
    single = data.assign(school=np.where(data.index < 3, 100 + data.index, data["school"]))
    _, notes = check_data(single, TwoLevelModel.from_syntax("level: within\n y ~ m\nlevel: between\n y ~ m"), "school")
    assert notes == ("4 of 33 clusters have a single row: they inform the between level only",)


def test_a_code_for_missing_values_is_pointed_out():
    data = school_data()
    data.loc[[2, 5], "y"] = -99.0
    _, notes = check_data(data, MODEL, "school")
    assert notes == ("'y' is -99 in 2 rows: if that stands for missing, say so with na='-99' (--na -99)",)
    _, notes = check_data(data.assign(y=-90.0 - np.arange(len(data)) % 10), MODEL, "school")
    assert notes == ()


@pytest.mark.parametrize(
    ("values", "code", "seen"),
    [
        (np.arange(120) % 5 + 1.0, 9.0, True),  # 1 .. 5, and 9
        (np.arange(120) % 5 + 1.0, 99.0, True),
        (np.arange(120) % 5 + 1.0, -1.0, True),
        (np.arange(120) % 40 + 20.0, 99.0, True),  # ages
        (np.arange(120) % 40 + 60.0, 99.0, False),  # ages 60 .. 99
        (np.arange(120) % 10 + 0.0, 9.0, False),  # 0 .. 9
        (np.arange(120) / 120.0, 9.0, False),  # an outlier, not a code
        (np.arange(120) % 5 - 2.0, -1.0, False),
        (np.arange(120) * 80.0, 9999.0, False),
        (np.arange(120) * 30.0, 9999.0, True),
    ],
)
def test_which_numbers_look_like_codes(values, code, seen):
    data = school_data()
    data["y"] = values
    data.loc[[3, 40, 77], "y"] = code
    _, notes = check_data(data, MODEL, "school")
    assert any(f"say so with na='{code:g}'" in note for note in notes) == seen


def test_a_label_of_refusal_is_a_code_wherever_it_lies():
    data = school_data().round(0)
    data["z"] = school_data()["z"]
    data.attrs["variable_value_labels"] = {"y": {1.0: "Don't know", 2.0: "often"}}
    _, notes = check_data(data, MODEL, "school")
    assert any(note.startswith("'y' is 1 ('Don't know') in") for note in notes)
    assert not any("often" in note for note in notes)


@pytest.mark.parametrize("na", ["-99, refused", ["-99", "refused"], (-99, "refused")])
def test_codes_for_missing_values_are_missing(na):
    data = school_data()
    data["y"] = data["y"].astype(object)
    data.loc[[2, 5], "y"] = -99
    data.loc[7, "y"] = "refused"
    data.loc[8, "unused"] = "-99"
    expected, _ = check_data(data.drop(index=[2, 5, 7]), MODEL, "school")
    checked, notes = check_data(data, MODEL, "school", na=na)
    pd.testing.assert_frame_equal(checked, expected)
    assert notes[0] == "-99, refused made missing: y 3"
    assert check_data(data.drop(index=7), MODEL, "school", na=-99)[1][0] == "-99 made missing: y 2"
    _, notes = check_data(school_data(), MODEL, "school", na=999)
    assert notes == ("--na 999: occurs in no variable of the model",)
    _, notes = check_data(data, MODEL, "school", na="-99,.,foo,refused")
    assert notes == ("-99, refused made missing: y 3", "--na foo: occurs in no variable of the model", *notes[2:])


def test_thirty_codes_do_not_spoil_a_fit():
    data = school_data()
    spoilt = data.copy()
    rows = data.index[::4]
    spoilt.loc[rows, "y"] = -99.0
    with_codes = check_data(spoilt, MODEL, "school", "fiml", "-99")[0]
    assert with_codes["y"].isna().sum() == len(rows) == 30
    np.testing.assert_array_equal(with_codes["y"].dropna(), data["y"].drop(rows))


def test_text_columns_are_explained():
    data = school_data()
    data["y"] = np.where(data["y"] > 0, "agree", "disagree")
    assert "it is text throughout, 2 categories: '" in problems_of(data)
    assert "code them as numbers" in problems_of(data.astype({"y": "category"}))


@pytest.mark.parametrize(("values", "said"), [(2, "two values (0, 1)"), (5, "5 values (0, 1, 2, 3, 4)"), (6, "")])
def test_few_whole_numbers_are_said_to_be_taken_as_continuous(values, said):
    data = school_data()
    data["y"] = pd.qcut(data["y"], values, labels=False).astype(float)
    notes = check_data(data, MODEL, "school")[1]
    assert any(f"'y' has {said}" in note and "treated as continuous" in note for note in notes) == bool(said)
    halves = data.assign(y=data["y"] / 2.0 + 0.1, z=(data["z"] > 0).astype(float))  # no whole numbers; no outcome
    assert check_data(halves, MODEL, "school")[1] == ()


def test_variables_of_one_kind_share_a_note():
    data = school_data()
    model = TwoLevelModel.from_syntax("level: within\n y ~ m\n m ~ x\nlevel: between\n y ~ m")
    three = pd.qcut(data["y"], 3, labels=False).astype(float)
    coded = data.assign(y=three, m=three.to_numpy()[::-1], x=data["y"])
    coded.loc[[2, 5], "m"] = coded.loc[7, "y"] = 99.0
    notes = check_data(coded, model, "school")[1]
    (codes,) = [note for note in notes if "stands for missing" in note]
    assert codes.startswith("'y' is 99 in 1 row, 'm' in 2 rows: ")
    (few,) = [note for note in check_data(coded, model, "school", na=99)[1] if "continuous" in note]
    assert few.startswith("2 variables, 'y', 'm' have 3 values (0, 1, 2) and are treated as continuous")
    halves = coded.assign(m=(data["y"] > 0).astype(float))
    assert sum("continuous" in note for note in check_data(halves, model, "school", na=99)[1]) == 2  # two kinds


def test_columns_that_look_like_weights_are_named():
    data = school_data().assign(W_FSTUWT=1.0, weight=2.0, height=3.0)
    assert check_data(data, MODEL, "school")[1][0].startswith("'W_FSTUWT', 'weight': if these are sampling weights")
