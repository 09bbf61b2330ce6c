"""Results speak: short reprs, summaries that are what commands print, tables for notebooks, statsmodels' names."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import simstudy
from simstudy.analysis.fit import fit as record_of
from simstudy.analysis.nested import likelihood_ratio_test, wald_test
from simstudy.cli import app
from simstudy.errors import SimstudyError

MODEL = "level: within\n  y ~ bw*x\nlevel: between\n  y ~ bb*x\ncontextual := bb - bw\n"
SMALLER = MODEL.replace("bw*", "b*").replace("bb*", "b*").replace("contextual := bb - bw\n", "")


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.removesuffix("\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A design, a model and a data file."""
    folder = tmp_path_factory.mktemp("results")
    design = simstudy.init("contextual", folder / "design.toml")
    simstudy.simulate(design, 0, 0, folder / "data.csv")
    (folder / "model.lav").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def data(place: Path) -> pd.DataFrame:
    return pd.read_csv(place / "data.csv")


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> simstudy.Fit:
    return simstudy.fit(MODEL, data, cluster="cluster", se="robust")


@pytest.fixture(scope="module")
def study(place: Path) -> simstudy.Study:
    return simstudy.run(place / "design.toml", place / "study", reps=10, jobs=1, progress=False)


@pytest.fixture(scope="module")
def everything(fit: simstudy.Fit, data: pd.DataFrame, study: simstudy.Study, place: Path) -> dict[str, object]:
    """One of each class."""
    options = {"power": 0.8, "analytic": True, "progress": False}
    return {
        "fit": fit,
        "comparison": simstudy.fit_all(MODEL, data, cluster="cluster"),
        "study": study,
        "replicate": study.replicate(1, 4),
        "status": study.status(),
        "replay": study.replay(0, 2, "msem"),
        "theory": study.theory(),
        "plan": simstudy.plan(place / "design.toml", "contextual", **options),
        "design": study.design,
    }


class Checked(HTMLParser):
    """Fails where tags are not balanced, or something is asked from elsewhere."""

    VOID = ("img", "br", "meta", "hr", "col")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        assert not any(name in ("src", "href") and not str(value).startswith("data:") for name, value in attrs)
        self.tables += tag == "table"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


NAMES = ("fit", "comparison", "study", "replicate", "status", "replay", "theory", "plan", "design")


@pytest.mark.parametrize("name", NAMES)
def test_every_result_has_a_short_repr_a_table_and_plain_values(everything: dict[str, object], name: str) -> None:
    found = everything[name]
    assert len(repr(found)) < 400  # the comparison names its nineteen methods; a fit had 15,492
    assert "\n" not in repr(found)
    page = Checked()
    page.feed(found._repr_html_())
    assert page.open == []
    assert page.tables > 0
    assert isinstance(found.to_frame(), pd.DataFrame)
    assert json.loads(json.dumps(found.to_dict(), default=str))
    assert len(found.summary()) > len(repr(found)) / 2  # the comparison's repr names all methods


def test_charts_have_words_and_numbers(fit: simstudy.Fit) -> None:
    charts = fit.plot()
    assert charts.summary() == f"diagram: {charts[0].alt}"
    (told,) = charts.to_dict().values()
    assert told["kind"] == "diagram"
    assert pd.DataFrame(told["data"]).equals(charts.to_frame())


def test_text_of_users_is_escaped(data: pd.DataFrame) -> None:
    odd = data.rename(columns={"cluster": "<script>alert(1)</script>"})
    found = simstudy.fit(MODEL, odd, cluster="<script>alert(1)</script>")
    assert "<script" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()


@pytest.mark.slow
def test_summaries_are_what_the_commands_print(everything: dict[str, object], place: Path) -> None:
    model, file = place / "model.lav", place / "data.csv"
    said = command("fit", model, file, "--cluster", "cluster", "--se", "robust", "--standardized", "--rsquare")
    assert everything["fit"].summary(standardized=True, r_squared=True) == said
    assert everything["comparison"].summary() == command(
        "fit", model, file, "--cluster", "cluster", "--estimator", "all"
    )
    assert everything["study"].summary() == command("analyse", place / "study")
    assert everything["status"].summary() == command("status", place / "study")
    assert everything["design"].summary() == command("validate", place / "design.toml")
    assert everything["theory"].summary() == command("bias", place / "design.toml")
    beside = command("bias", place / "design.toml", "--joined", place / "study")
    assert everything["theory"].summary(beside=everything["study"]) == beside
    where = ("--cell", 0, "--rep", 2, "--estimator", "msem")
    assert everything["replay"].summary() == command("replay", place / "study", *where)
    options = ("--parameter", "contextual", "--power", 0.8, "--analytic", "--out", place / "plan")
    printed = command("plan", place / "design.toml", *options)
    assert everything["plan"].summary().splitlines()[:-1] == printed.splitlines()[:-1]  # the last: how long it took


# ---------------------------------------------------------------------- a fit


def test_estimates_have_statsmodels_names(fit: simstudy.Fit) -> None:
    names = list(fit.model.reported)
    for series in (fit.coef, fit.bse, fit.zvalues, fit.pvalues):
        assert series.index.tolist() == names
    assert fit.coef["contextual"] == fit.coef["bb"] - fit.coef["bw"]
    # variances of all, by the delta method: the covariance matrix and the SEs come by two ways (rounding)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov)), fit.bse, rtol=1e-10)
    difference = fit.cov.loc["bb", "bb"] + fit.cov.loc["bw", "bw"] - 2 * fit.cov.loc["bb", "bw"]
    assert fit.bse["contextual"] == pytest.approx(np.sqrt(difference), rel=1e-12)
    np.testing.assert_allclose(fit.pvalues, 2 * stats.norm.sf(abs(fit.coef / fit.bse)), rtol=1e-12)
    assert fit.aic == pytest.approx(-2 * fit.loglik + 2 * 8, rel=1e-14)  # eight free parameters
    assert fit.bic == pytest.approx(-2 * fit.loglik + np.log(fit.nobs) * 8, rel=1e-14)


def test_intervals_of_another_level(fit: simstudy.Fit, data: pd.DataFrame) -> None:
    again = simstudy.fit(MODEL, data, cluster="cluster", se="robust", ci_level=0.8)
    np.testing.assert_allclose(fit.conf_int(0.8), again.conf_int(), rtol=1e-14)
    assert (fit.conf_int()["lower"] < fit.conf_int(0.8)["lower"]).all()
    drawn = simstudy.fit(MODEL, data, cluster="cluster", ci="montecarlo", draws=200)
    with pytest.raises(SimstudyError, match=r"fit with ci_level=0\.8"):
        drawn.conf_int(0.8)
    with pytest.raises(SimstudyError, match="between 0 and 1"):
        fit.conf_int(95)


def test_what_a_method_does_not_estimate_is_missing_in_its_covariance_too(data: pd.DataFrame) -> None:
    found = simstudy.fit(MODEL, data, cluster="cluster", estimator="aggregated")
    silent = found.bse.isna()
    assert silent["bw"]
    assert silent["contextual"]
    assert not silent["bb"]
    assert (np.isnan(np.diag(found.cov)) == silent).all()
    assert found.cov.loc["bb", "bb"] == pytest.approx(found.bse["bb"] ** 2, rel=1e-12)


def test_methods_of_a_fit_are_the_functions_of_its_record(fit: simstudy.Fit, data: pd.DataFrame) -> None:
    assert fit.wald("bb == bw") == wald_test(record_of(MODEL, data, cluster="cluster", se="robust"), "bb == bw")
    smaller = simstudy.fit(SMALLER, data, cluster="cluster", se="robust")
    expected = likelihood_ratio_test(smaller, fit)
    assert fit.lr_test(smaller) == smaller.lr_test(fit) == expected
    assert expected.df == 1
    assert fit.scores("within").shape[0] == fit.nobs
    with pytest.raises(SimstudyError, match="level: found 'betwen'"):
        fit.scores("betwen")
    with pytest.raises(SimstudyError, match="did you mean 'diagram'"):
        fit.plot("diagramm")


def test_model_and_data_in_any_form(fit: simstudy.Fit, data: pd.DataFrame, place: Path) -> None:
    """The same bits from files, text, a model that was read, and columns."""
    model = simstudy.TwoLevelModel.from_syntax(MODEL)
    for one in (place / "model.lav", str(place / "model.lav"), model):
        for table in (place / "data.csv", str(place / "data.csv"), data.to_dict("list")):
            again = simstudy.fit(one, table, cluster="cluster", se="robust")
            assert np.array_equal(again.params, fit.params)
    with pytest.raises(SimstudyError, match=r"there is no such file \(did you mean 'model\.lav'"):
        simstudy.fit(place / "model.lab", data, cluster="cluster")
    with pytest.raises(SimstudyError, match="same length; found y 2, x 1"):
        simstudy.fit(MODEL, {"y": [1.0, 2.0], "x": [1.0]}, cluster="g")


# ---------------------------------------------------------------------- a study


def test_performance_chooses_rows(study: simstudy.Study) -> None:
    table = study.performance(parameters="b_*", measures=["bias"], estimators="msem", cells=[1], basis="casewise")
    assert set(table["parameter"]) == {"b_w", "b_b"}
    assert set(table["measure"]) == {"bias"}
    assert set(table["estimator"]) == {"msem"}
    assert set(table["cell"]) == {1}
    with pytest.raises(SimstudyError, match="did you mean 'msem'"):
        study.performance(estimators="mesm")
    assert len(study.performance()) == len(study.to_frame())


def test_a_replicate_is_the_stored_one(study: simstudy.Study) -> None:
    found = study.replicate(2, 7)
    assert f"{found.fit('msem').coef['b_w']:.3f}" in found.summary()
    pd.testing.assert_frame_equal(found.data, simstudy.simulate(study.design, 2, 7))
    stored = found.estimates.query("estimator == 'msem' and se_kind == 'robust'").set_index("parameter")
    again = found.fit("msem")
    assert again.options["se"] == "expected"
    # the study fits statistics that are drawn without rows; those of the rows differ by rounding
    np.testing.assert_allclose(again.coef[stored.index], stored["estimate"], rtol=1e-6, atol=1e-8)
    with pytest.raises(SimstudyError, match="rep: found 10; nothing of it is stored"):
        study.replicate(2, 10)
    with pytest.raises(SimstudyError, match="did you mean 'msem'"):
        found.fit("mesm")


def test_a_design_in_any_form_is_the_same_design(place: Path) -> None:
    text = (place / "design.toml").read_text(encoding="utf-8")
    tables = {
        "study": {"name": "contextual", "replications": 1000, "seed": 20240101},
        "model": {"syntax": "level: within\n  y ~ b_w*x\nlevel: between\n  y ~ b_b*x\ncontextual := b_b - b_w\n"},
        "population": {"b_w": 0.2, "b_b": 0.5, "variance": 1.0, "icc": 0.2, "cluster_size": np.int64(10)},
        "factors": {"n_clusters": (50, 100, 200)},
        "estimators": {"use": ["msem"], "msem": {"se": ["expected", "robust"]}},
    }
    digests = {simstudy.validate(form).digest for form in (place / "design.toml", text, tables)}
    assert len(digests) == 1
    with pytest.raises(SimstudyError, match=r"population\.b_w: found None; leave the key out"):
        simstudy.validate({**tables, "population": {"b_w": None}})


# ---------------------------------------------------------------------- figures and names


@pytest.mark.slow
def test_figures_show_themselves_and_leave_no_state(place: Path, study: simstudy.Study) -> None:
    code = (
        "import sys, simstudy\n"
        f"charts = simstudy.plot({str(study.folder)!r}, parameters=['contextual'])\n"
        "bundle = charts._repr_mimebundle_()\n"
        "assert bundle['text/html'].count('data:image/png;base64,iVBOR') == len(charts) == 2\n"
        "assert 'image/png' in charts[:1]._repr_mimebundle_()\n"
        "assert charts[0]._repr_png_().startswith(b'\\x89PNG')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=place)


def test_tables_are_drawn_as_the_study_is(study: simstudy.Study) -> None:
    chosen = {"parameters": "contextual", "estimators": ["msem"]}
    (ours,) = study.plot("lines", **chosen)
    (theirs,) = simstudy.plot(study.performance(), "lines", **chosen)
    pd.testing.assert_frame_equal(ours.data, theirs.data)
    rows = simstudy.api.replicates(study.folder, 1)
    (zip_of_rows,) = simstudy.plot(rows, "zip", **chosen)
    (zip_of_study,) = study.plot("zip", cells=[1], **chosen)
    pd.testing.assert_frame_equal(zip_of_rows.data, zip_of_study.data)
    with pytest.raises(SimstudyError, match="drawn from replicates"):
        simstudy.plot(study.performance(), "zip", **chosen)
    with pytest.raises(SimstudyError, match="drawn from a performance table"):
        simstudy.plot(rows, "lines", **chosen)
    with pytest.raises(SimstudyError, match="neither a performance table"):
        simstudy.plot(pd.DataFrame({"a": [1]}), "lines")


def test_several_figures_are_no_single_file(study: simstudy.Study, tmp_path: Path) -> None:
    charts = study.plot(parameters="contextual")
    with pytest.raises(SimstudyError, match="there are 2 figures"):
        charts.save(tmp_path / "one.svg")
    written = charts[:1].save(tmp_path / "one.svg")
    assert [path.name for path in written] == ["one.svg", "one.csv"]


def test_the_package_shows_its_public_names() -> None:
    assert set(dir(simstudy)) == {*simstudy.__all__, "__version__"}
    for name in simstudy.__all__:
        assert getattr(simstudy, name).__name__ == name  # every name of the stub is there, and is what it says
