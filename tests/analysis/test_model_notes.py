"""What a fit says about its model, products of columns, and words of other programs for methods and SEs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.choices import lavaan_words
from simstudy.analysis.fit import fit, fit_all
from simstudy.analysis.level_fit import level_fit
from simstudy.errors import DataError, EstimatorError, ModelError
from simstudy.model.twolevel import TwoLevelModel


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    ids = np.repeat(np.arange(60), rng.integers(3, 9, size=60))
    u = rng.normal(size=(60, 2))
    x, z = rng.normal(size=(2, len(ids)))
    w = u[ids, 0]
    y = 0.4 * x + 0.3 * w + 0.2 * x * w + 0.5 * u[ids, 1] + rng.normal(size=len(ids))
    return pd.DataFrame({"g": ids, "x": x, "z": z, "w": w, "v": u[ids, 1] ** 2, "y": y, "my x": x})


def params(text: str, data: pd.DataFrame, **options: object) -> np.ndarray:
    found = fit(text, data, cluster="g", **options)
    assert found.converged
    return found.params


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("level: 1\n y ~ x + z + x:z\nlevel: 2\n y ~ w", "x", "z"),
        ("level: 1\n y ~ x + x:w\nlevel: 2\n y ~ w", "x", "w"),
        ("level: 1\n y ~ x\nlevel: 2\n y ~ w + v + w:v", "w", "v"),
        ("level: 1\n y ~ x + x:z\nlevel: 2\n y ~ w + x:z", "x", "z"),
        ('level: 1\n y ~ rv("s")*x:z\nlevel: 2\n y ~~ s', "x", "z"),
    ],
)
def test_products_are_columns_made_by_hand(text, a, b, data) -> None:
    by_hand = params(text.replace(f"{a}:{b}", "p"), data.assign(p=data[a] * data[b]))
    np.testing.assert_array_equal(params(text, data), by_hand)
    note = f"{a}:{b} is the column {a} times the column {b}, row by row, not centred"
    assert any(note in line for line in fit(text, data, cluster="g").notes)


def test_a_column_that_is_there_is_taken(data) -> None:
    text = "level: 1\n y ~ x + x:z\nlevel: 2\n y ~ w"
    given = data.assign(**{"x:z": data["x"] ** 2})
    np.testing.assert_array_equal(params(text, given), params(text.replace("x:z", "q"), data.assign(q=data["x"] ** 2)))
    assert any("'x:z' is a column of the data" in note for note in fit(text, given, cluster="g").notes)


def test_products_of_what_is_no_column_are_told(data) -> None:
    with pytest.raises(DataError) as caught:
        fit("level: 1\n y ~ x + x:zz + y:t\nlevel: 2\n y ~ w", data.assign(t="a"), cluster="g")
    assert len(caught.value.problems) == 2
    assert "no column 'zz', of which 'x:zz' is a product (did you mean 'z'?)" in caught.value.problems[0]
    assert "column 't', of which 'y:t' is a product, is not numeric" in caught.value.problems[1]


def test_quoted_names_are_names(data) -> None:
    text = 'level: 1\n y ~ a*"my x"\nlevel: 2\n y ~ w\na2 := 2*a'
    one = fit(text, data, cluster="g")
    np.testing.assert_array_equal(one.params, params(text.replace('"my x"', "x"), data))
    assert one.measures["df"] == 0.0  # unrestricted and baseline models are made of the names, too
    assert set(one.parameters["rhs"]) >= {"my x"}


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("MLR", None), ("msem", "robust")),
        (("mlr", "MLR"), ("msem", "robust")),
        (("ML", None), ("msem", None)),
        (("ML", "robust.huber.white"), ("msem", "robust")),
        (("msem", "MLR"), ("msem", "robust")),
        (("goldstein", "standard"), ("goldstein", "expected")),
        (("muml", None), ("muml", None)),
        (("all", "MLR"), ("all", "robust")),
    ],
)
def test_words_of_lavaan_and_mplus(given, meant) -> None:
    assert lavaan_words(*given) == meant


@pytest.mark.parametrize("given", [("WLSMV", None), ("MLR", "expected"), ("DWLS", "MLR")])
def test_words_that_contradict_or_mean_nothing_here(given) -> None:
    with pytest.raises(EstimatorError):
        lavaan_words(*given)


def test_mlr_is_msem_with_robust_standard_errors(data) -> None:
    text = "level: 1\n y ~ x\nlevel: 2\n y ~ w"
    one, other = fit(text, data, cluster="g", estimator="MLR"), fit(text, data, cluster="g", se="robust")
    assert one.estimator == "msem"
    pd.testing.assert_frame_equal(one.parameters, other.parameters)
    assert one.options["se"] == "robust"
    many = fit_all(text, data, cluster="g", se="MLR")
    assert many["msem"].options["se"] == "robust"


# ---------------------------------------------------------------------- settings


def test_auto_goes_with_texts(data) -> None:
    text = "level: 1\n y ~ x + z\n x ~~ x\nlevel: 2\n y ~ w"
    assert fit(text, data, cluster="g", auto="lavaan").measures["df"] == 1
    assert fit(text, data, cluster="g").measures["df"] == 0
    with pytest.raises(EstimatorError, match="model given as text"):
        fit(TwoLevelModel.from_syntax(text), data, cluster="g", auto="lavaan")
    with pytest.raises(EstimatorError, match="did you mean 'lavaan'"):
        fit(text, data, cluster="g", auto="lavan")
    with pytest.raises(ModelError, match="did you mean 'lavaan'"):
        TwoLevelModel.from_syntax(text, auto="lavan")


def test_the_fit_of_one_level_leaves_bounded_models_out(data) -> None:
    text = "level: 1\n y ~ a*x\nlevel: 2\n y ~ w\na > 0"
    assert level_fit(fit(text, data, cluster="g"))["chisq"].isna().all()


def test_a_label_that_is_a_column_of_the_data_is_noted(data) -> None:
    text = "level: 1\n y ~ x*z\nlevel: 2\n y ~ b*w"
    notes = fit(text, data, cluster="g").notes
    assert [note for note in notes if "not a product" in note and "x:z" in note and "line 2" in note]
    assert not [note for note in notes if "'b'" in note]
    own = fit("level: 1\n y ~ x + x*z\nlevel: 2\n y ~ w", data, cluster="g").notes
    assert sum("not a product" in note for note in own) == 1  # x is a variable of the model: said once
