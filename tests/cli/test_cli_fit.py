"""`simstudy fit`: what it prints and writes, its exit codes, and a message for everything that can be wrong."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simstudy.analysis import fit as fit_module
from simstudy.cli import app
from simstudy.commands import fit as command_module
from simstudy.estimation.result import Status
from simstudy.methods import registry

MODEL = """level: within
  y ~ bw*m
level: between
  m ~ a*x
  y ~ bb*m + c*x
ind := a*bb
"""
COLUMNS = ["lhs", "op", "rhs", "level", "label", "est", "se", "z", "pvalue", "ci_lower", "ci_upper"]
TEXT = "level: within; y ~ bw*m; level: between; m ~ a*x; y ~ bb*m + c*x; ind := a*bb"


def simstudy(*arguments):
    return CliRunner().invoke(app, ["fit", *map(str, arguments)], catch_exceptions=False)


def school_data(n_clusters=50, size=6):
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(n_clusters), size)
    x = rng.normal(size=n_clusters)[g]
    m = 0.5 * x + rng.normal(scale=0.6, size=n_clusters)[g] + rng.normal(size=len(g))
    y = 0.4 * m + 0.3 * x + rng.normal(scale=0.5, size=n_clusters)[g] + rng.normal(size=len(g))
    return pd.DataFrame({"school": [f"s{k}" for k in g], "x": x, "m": m, "y": y})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Model and data in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.lav").write_text(MODEL)
    school_data().sample(frac=1.0, random_state=1).to_csv(tmp_path / "school.csv", index=False)
    return tmp_path


def errors_of(*arguments):
    """Messages of a call that must be refused."""
    done = simstudy(*arguments)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return "\n".join(line.removeprefix("error: ") for line in lines)


# ---------------------------------------------------------------------- what is printed and written


def test_summary(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school")
    assert done.exit_code == 0, done.output
    for words in ("ended normally", "Number of clusters [school]", "Level 2 [school]:", "Defined Parameters:", "(bw)"):
        assert words in done.stdout
    assert done.stderr == ""
    assert "Std.all" not in done.stdout
    assert "R-Square" not in done.stdout


def test_the_model_may_be_given_as_text(folder):
    done = simstudy(TEXT, "school.csv", "--cluster", "school")
    assert done.stdout == simstudy("model.lav", "school.csv", "--cluster", "school").stdout


def test_more_tables_on_demand(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--standardized", "--rsquare", "--residuals")
    assert done.exit_code == 0, done.output
    assert "Std.all" in done.stdout
    assert done.stdout.count("R-Square:") == 2
    assert "Residuals [within]" in done.stdout
    assert "Residuals [between]" in done.stdout


def test_json_has_the_documented_fields(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--json", "out/fit.json", "--standardized")
    assert "written: out/fit.json" in done.stderr
    found = json.loads((folder / "out/fit.json").read_text(), parse_constant=pytest.fail)
    fields = (
        "estimator converged admissible status n_obs n_clusters loglik npar chisq df pvalue cfi tli rmsea srmr_within "
        "srmr_between aic bic icc parameters"
    )
    assert set(fields.split()) <= set(found)
    assert (found["estimator"], found["converged"], found["n_obs"], found["n_clusters"]) == ("msem", True, 300, 50)
    assert set(found["icc"]) == {"m", "y"}
    (bw,) = [row for row in found["parameters"] if row["label"] == "bw"]
    assert list(bw) == COLUMNS
    assert bw["ci_lower"] < bw["est"] < bw["ci_upper"]
    (ind,) = [row for row in found["parameters"] if row["op"] == ":="]
    assert ind["level"] == ""
    assert len(found["standardized"]) == len(found["parameters"])
    assert [path.name for path in (folder / "out").iterdir()] == ["fit.json"]
    options = found["options"]
    assert (options["auto"], options["se"]) == ("simstudy", "expected")
    assert [options[name] for name in ("h1", "na", "slopes", "nodes")] == [None] * 4


def test_json_records_what_was_asked(folder):
    call = ["model.lav", "school.csv", "--cluster", "school", "--json", "fit.json"]
    assert simstudy(*call, "--auto", "lavaan", "--h1", "psd", "--bounds", "pos.var", "--na", "-99").exit_code == 0
    options = json.loads((folder / "fit.json").read_text())["options"]
    asked = {"auto": "lavaan", "h1": "psd", "bounds": "variances", "na": "-99"}
    assert {name: options[name] for name in asked} == asked


def test_csv(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--csv", "fit.csv", "--standardized")
    assert done.exit_code == 0
    table = pd.read_csv(folder / "fit.csv")
    assert table.columns.tolist() == [*COLUMNS, "std_all"]
    assert (table["op"] == ":=").sum() == 1


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_plot(folder, suffix):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--plot", f"fit.{suffix}")
    assert done.exit_code == 0
    assert (folder / f"fit.{suffix}").stat().st_size > 2000


def test_options_reach_the_fit(folder):
    arguments = ["--se", "robust", "--ci-level", "0.9", "--ci", "montecarlo", "--draws", "200", "--seed", "4"]
    found = json_of(folder, *arguments, "--fixed-x", "--bounds", "variances", "--std-lv")
    asked = found["options"]
    assert {key: asked[key] for key in ("se", "ci", "ci_level", "draws", "seed", "fixed_x", "bounds", "std_lv")} == {
        "se": "robust", "ci": "montecarlo", "ci_level": 0.9, "draws": 200, "seed": 4, "fixed_x": True,
        "bounds": "variances", "std_lv": True,
    }  # fmt: skip


def json_of(folder, *arguments):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--json", "fit.json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads((folder / "fit.json").read_text())


def test_another_method_with_an_option(folder):
    reml, ml = (json_of(folder, "--estimator", "mlm", "--option", f"likelihood={kind}") for kind in ("reml", "ml"))
    assert reml["estimator"] == "mlm"
    assert reml["parameters"] != ml["parameters"]
    assert reml["loglik"] is None or np.isfinite(reml["loglik"])


def test_missing_values(folder):
    data = school_data()
    data.loc[::10, "y"] = np.nan
    data.to_csv("school.csv", index=False)
    listwise = simstudy("model.lav", "school.csv", "--cluster", "school")
    assert "30 of 300 rows have missing values (y 30) and are left out" in " ".join(listwise.stdout.split())
    assert re.search(r"Rows left out +30\n", listwise.stdout)
    fiml = simstudy("model.lav", "school.csv", "--cluster", "school", "--missing", "fiml")
    assert fiml.exit_code == 0, fiml.output
    assert re.search(r"Number of missing patterns +2\n", fiml.stdout)
    assert re.search(r"Number of observations +300\n", fiml.stdout)


def test_what_does_not_exist_for_a_method_is_said(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--estimator", "mlm", "--standardized")
    assert done.exit_code == 0
    assert "note: no standardized values: " in done.stderr


def test_all_methods_side_by_side(folder):
    arguments = ["--json", "all.json", "--csv", "all.csv", "--plot", "all.svg"]
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--estimator", "all", *arguments)
    assert done.exit_code == 0, done.output
    for name in registry.names():
        assert name in done.stdout
    assert "bw: y ~ m" in done.stdout
    assert "y ~~ y" not in done.stdout
    assert "cannot tell within from between effects" in done.stdout
    found = json.loads((folder / "all.json").read_text())
    assert [one["estimator"] for one in found["fits"]] == list(registry.names())
    assert set(pd.read_csv(folder / "all.csv")["estimator"]) == set(registry.names())
    assert (folder / "all.svg").exists()
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--estimator", "all", "--all-parameters")
    assert "y ~~ y" in done.stdout


def test_a_method_that_cannot_fit_is_no_failure_among_all(folder):
    model = "level: within\n f =~ y + m + v\nlevel: between\n y ~~ y"
    school_data().assign(v=lambda d: d["m"] + np.random.default_rng(1).normal(size=len(d))).to_csv("school.csv")
    done = simstudy(model, "school.csv", "--cluster", "school", "--estimator", "all")
    assert "not fitted" in done.stdout
    assert done.exit_code == 0, done.output


# ---------------------------------------------------------------------- exit codes and progress


def failing(status, **changes):
    plain = fit_module.fit

    def failing_fit(*arguments, **options):
        found = plain(*arguments, **options)
        found.parameters.loc[found.parameters["free"], ["est", "se", "z", "pvalue", "ci_lower", "ci_upper"]] = np.nan
        return replace(found, status=status, **changes)

    return failing_fit


def test_no_convergence_prints_what_is_known_and_exits_with_1(folder, monkeypatch):
    monkeypatch.setattr(fit_module, "fit", failing(Status.MAX_ITER, n_iter=500))
    files = ["--json", "fit.json", "--plot", "fit.svg", "--residuals"]
    done = simstudy("model.lav", "school.csv", "--cluster", "school", *files)
    assert done.exit_code == 1
    assert "DID NOT CONVERGE (MAX_ITER, 500 iterations)" in done.stdout
    assert "Number of observations" in done.stdout
    assert "n/a" in done.stdout
    assert json.loads((folder / "fit.json").read_text())["converged"] is False
    assert (folder / "fit.svg").exists()


def test_a_method_that_cannot_fit_the_model_exits_with_1(folder):
    model = "level: within\n f =~ y + m + x\nlevel: between\n f2 =~ y + m + x"
    data = school_data()
    data["x"] += np.random.default_rng(2).normal(size=len(data))
    data.to_csv("school.csv", index=False)
    done = simstudy(model, "school.csv", "--cluster", "school", "--estimator", "mlm")
    assert done.exit_code == 1
    assert "mlm cannot fit this model: " in done.stdout


def test_progress_is_quiet_when_it_is_over_at_once(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--ci", "bootstrap", "--draws", "100")
    assert done.exit_code == 0
    assert "Parametric bootstrap, 100 draws" in done.stdout


def test_progress_lines(monkeypatch):
    clock = iter([0.0, 0.2, 1.5, 2.0, 7.0, 7.1])
    monkeypatch.setattr(command_module.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with command_module._progress(stream) as progress:
        for done in (1, 200, 300, 900, 1000):
            progress("bootstrap", done, 1000)
    assert stream.getvalue().splitlines() == [
        "bootstrap: 200/1,000, 2 s",
        "bootstrap: 900/1,000, 7 s",
        "bootstrap: 1,000/1,000, 7 s",
    ]


def test_progress_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with command_module._progress(stream) as progress:
        progress("bootstrap", 500, 1000)
    assert "bootstrap" in stream.getvalue()
    assert "500/1,000" in stream.getvalue()


# ---------------------------------------------------------------------- bad input


def test_all_problems_of_the_call_come_at_once(folder):
    wrong = ["--estimator", "mse", "--se", "robst", "--ci", "bootstap", "--ci-level", "95", "--missing", "fml"]
    more = ["--bounds", "variance", "--draws", "3", "--option", "likelihood", "--plot", "a.jpg"]
    text = errors_of("model.lev", "schol.csv", "--cluster", "school", *wrong, *more)
    for message in (
        "--estimator: found 'mse'; allowed: ",
        "(did you mean 'msem'?)",
        "--se: found 'robst'; allowed: expected, observed, robust, corrected (did you mean 'robust'?)",
        "--ci: found 'bootstap'; allowed: wald, montecarlo, bootstrap, cluster_bootstrap (did you mean 'bootstrap'?)",
        "--ci-level: found 95; allowed: between 0 and 1",
        "--missing: found 'fml'; allowed: listwise, fiml (did you mean 'fiml'?)",
        "--bounds: found 'variance'; allowed: none, variances (did you mean 'variances'?)",
        "--draws: found 3; allowed: 100 or more",
        "--option: found 'likelihood'; write key=value",
        "--plot: found 'a.jpg'; a diagram is written as .svg, .png, .pdf",
        "model.lev: there is no such file (did you mean 'model.lav'?)",
        "schol.csv: there is no such file (did you mean 'school.csv'?)",
    ):
        assert message in text
    assert len(text.splitlines()) == 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--estimator", "al"], r"found 'al'; allowed: .*, all \(did you mean 'all'\?\)"),
        (["--estimator", "nowhere.such:Thing"], "--estimator: method 'nowhere.such:Thing' cannot be imported"),
        (["--estimator", "mlm", "--option", "likelihod=ml"], r"unknown option 'likelihod' \(did you mean 'likelihood'"),
        (["--estimator", "mlm", "--option", "likelihood=mml"], "option 'likelihood'.*found 'mml'"),
        (["--estimator", "mlm", "--se", "robust"], "method 'mlm' has model-based"),
        (["--estimator", "mlm", "--missing", "fiml"], "method 'mlm' has no choice of 'missing'"),
        (["--estimator", "all", "--option", "likelihood=ml"], "options belong to one method"),
        (["--option", "=3"], "found '=3'; write key=value"),
        (["--estimator", "all", "--standardized"], "--standardized: it is about one fit"),
        (["--estimator", "all", "--rsquare"], "--rsquare: it is about one fit"),
        (["--estimator", "all", "--level-fit"], "--level-fit: it is about one fit"),
        (["--all-parameters"], "--all-parameters: it is about the table of --estimator all"),
    ],
)
def test_options_that_are_refused(folder, arguments, message):
    text = errors_of("model.lav", "school.csv", "--cluster", "school", *arguments)
    assert re.search(message, text)
    assert len(text.splitlines()) == 1


def test_models_that_are_refused(folder):
    (folder / "bad.lav").write_text("level: within\n y ~ 3x\nlevel: between\n y ~ m\nlevel: betwen\n y ~ m\n")
    text = errors_of("bad.lav", "school.csv", "--cluster", "school")
    assert "bad.lav: model line 5, column 1: 'betwen' would be a third level" in text
    assert "did you mean 'between'" in text
    text = errors_of("level: within; y ~ m; level: between; y ~ * m", "school.csv", "--cluster", "school")
    assert text.startswith("model line 1, column ")
    assert "this is a folder; give a model file" in errors_of(".", "school.csv", "--cluster", "school")
    assert "there is no such file" in errors_of("y ~ m", "school.csv", "--cluster", "school")
    long = "y ~ " + " + ".join(f"variable_{k}" for k in range(100))
    assert "or the text itself with its 'level:' blocks" in errors_of(long, "school.csv", "--cluster", "school")
    (folder / "binary.lav").write_bytes(b"\xff\xfe\x00\x81")
    assert "binary.lav: this is not a text file" in errors_of("binary.lav", "school.csv", "--cluster", "school")


def test_data_that_are_refused(folder):
    text = errors_of("model.lav", "school.csv", "--cluster", "schol")
    assert text == "school.csv: there is no cluster column 'schol' (did you mean 'school'?); found: school, x, m, y"
    data = school_data()
    data["y"] = data["y"].astype(object)
    data.loc[2, "y"] = "oops"
    data.loc[4, "x"] = 99.0
    data.to_csv("school.csv", index=False)
    text = errors_of("model.lav", "school.csv", "--cluster", "school")
    assert "school.csv: column 'y' must hold numbers; row 3 has 'oops'" in text
    assert "school.csv: level-2 variable 'x' varies within 1 cluster: cluster 's0'" in text
    (folder / "school.csv").write_text("")
    assert errors_of("model.lav", "school.csv", "--cluster", "school") == "school.csv: the file is empty"


def test_the_cluster_column_must_be_named(folder):
    done = simstudy("model.lav", "school.csv")
    assert done.exit_code == 2
    assert "--cluster" in done.stderr


def test_help_names_every_option():
    text = simstudy("--help").stdout
    named = (
        "cluster estimator se ci ci-level missing fixed-x bounds std-lv auto standardized rsquare residuals option "
        "draws seed json csv plot all-parameters h1 level-fit reliability"
    )
    for name in named.split():
        assert f"--{name} " in text


@pytest.fixture
def written(tmp_path):
    """Model and data files."""
    (tmp_path / "model.lav").write_text(MODEL, encoding="utf-8")
    school_data().to_csv(tmp_path / "data.csv", index=False)
    return tmp_path


def test_level_fit_wald_test_and_scores(written):
    options = ["--level-fit", "--wald", "bb == bw; ind == 0", "--scores", written / "eb.csv"]
    done = simstudy(written / "model.lav", written / "data.csv", "--cluster", "school", *options)
    assert done.exit_code == 0
    assert "Fit of one level, the other unrestricted" in done.output
    assert re.search(r"Wald test of bb == bw; ind == 0: chi-square \d+\.\d{3}, df 2, p [01]\.\d{4}", done.output)
    between, within = (pd.read_csv(written / f"eb-{level}.csv") for level in ("between", "within"))
    assert (len(between), len(within)) == (50, 300)
    assert {"cluster", "y", "y_se", "m"} <= set(between.columns)
    assert within["row"].tolist() == list(range(1, 301))  # as messages count rows
    assert within["cluster"].tolist() == pd.read_csv(written / "data.csv")["school"].tolist()


def test_a_wald_test_is_checked_before_anything_is_fitted(written):
    call = [written / "model.lav", written / "data.csv", "--cluster", "school"]
    done = simstudy(*call, "--wald", "bb == bww; bw = 0")
    assert done.exit_code == 2
    assert done.stdout == ""
    said = " ".join(done.stderr.split())
    assert "--wald: restriction 'bb == bww': unknown parameter 'bww' (did you mean 'bw'?)" in said
    assert "--wald: restriction 'bw = 0' has no '=='; write 'bw == 0'" in said
    done = simstudy(*call, "--estimator", "all", "--wald", "bb == bw", "--scores", written / "x.csv")
    assert done.exit_code == 2
    assert done.stderr.count("it is about one fit") == 2


def test_a_wald_test_stands_in_the_json_and_its_failure_spoils_nothing(written):
    call = [written / "model.lav", written / "data.csv", "--cluster", "school", "--json", written / "fit.json"]
    assert simstudy(*call, "--wald", "bb == bw").exit_code == 0
    assert json.loads((written / "fit.json").read_text())["wald_test"]["df"] == 1
    done = simstudy(*call, "--wald", "bb == bw; 2*bb == 2*bw")
    assert done.exit_code == 0
    assert "note: no Wald test: the restrictions repeat each other" in done.stderr
    assert "wald_test" not in json.loads((written / "fit.json").read_text())


FACTORS = "level: within\n f =~ y1 + y2 + y3\nlevel: between\n f =~ y1 + y2 + y3\n y3 ~~ 0*y3\n y2 ~~ 0*y2"


@pytest.fixture
def factors(tmp_path, monkeypatch):
    """Three items of one factor at both levels, without between residuals."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(60), 5)
    rows = 0.6 * rng.normal(size=60)[clusters, None] + rng.normal(size=(300, 1)) + 0.7 * rng.normal(size=(300, 3))
    pd.DataFrame(rows, columns=["y1", "y2", "y3"]).assign(g=clusters).to_csv(tmp_path / "items.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_either_unrestricted_model_and_reliabilities(factors):
    call = (FACTORS, "items.csv", "--cluster", "g", "--se", "robust", "--json", "out.json")
    done = simstudy(*call, "--h1", "psd", "--reliability", "--level-fit")
    assert done.exit_code == 0
    found = json.loads((factors / "out.json").read_text())
    assert found["h1"] == "psd"
    assert found["scaling_factor_h0"] > 0
    assert {"cfi_robust", "tli_robust", "rmsea_robust", "rmsea_ci_upper_robust"} <= found.keys()
    assert [row["level"] for row in found["level_fit"]] == ["both", "within", "between"]
    assert found["level_fit"][0]["chisq"] == found["chisq"]
    coefficients = [(row["coefficient"], row["level"]) for row in found["reliability"]]
    assert coefficients[:2] == [("omega", "within"), ("omega", "between")]
    inside = [row for row in found["reliability"] if row["est"] < 1]  # a Heywood case has no logit
    assert inside
    assert all(0 < row["ci_lower"] < row["est"] < row["ci_upper"] < 1 for row in inside)
    for words in ("Compared with (H1)", "Reliability of Composites:", "target model", "Robust RMSEA"):
        assert words in done.stdout
    assert simstudy(*call).exit_code == 0
    free = json.loads((factors / "out.json").read_text())
    assert free["h1"] == "unrestricted"
    assert "reliability" not in free
    assert free["chisq"] >= found["chisq"]


def test_reliability_without_a_factor_is_said(folder):
    done = simstudy("model.lav", "school.csv", "--cluster", "school", "--reliability")
    assert done.exit_code == 0
    assert "no reliability values: the model has no factor" in done.stderr


def test_codes_for_missing_values_and_weights(written):
    data = pd.read_csv(written / "data.csv")
    data.loc[data.index[:30], "y"] = -99
    data.to_csv(written / "coded.csv", index=False)
    common = [written / "model.lav", written / "coded.csv", "--cluster", "school"]
    done = simstudy(*common)
    assert "'y' is -99 in 30 rows: if that stands for missing" in " ".join(done.output.split())
    done = simstudy(*common, "--na", "-99,.", "--missing", "fiml", "--json", written / "fit.json")
    assert done.exit_code == 0
    found = json.loads((written / "fit.json").read_text())
    assert (found["n_obs"], found["options"]["na"]) == (300, "-99,.")
    assert "-99 made missing: y 30" in found["notes"]
    done = simstudy(*common, "--weights", "w")
    assert done.exit_code == 2
    assert "sampling weights ('w') are not supported" in " ".join(done.output.split())


def test_a_method_in_the_current_folder_is_found(folder, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    (folder / "own_in_folder.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from simstudy.methods.one_level.disaggregated import Disaggregated\n\n"
        "@dataclass(frozen=True)\nclass Own(Disaggregated):\n    name: ClassVar[str] = 'own_in_folder'\n"
    )
    call = ("model.lav", "school.csv", "--cluster", "school", "--estimator")
    done = simstudy(*call, "own_in_folder:Own")
    assert done.exit_code == 0, done.output
    assert "cannot be imported" in errors_of(*call, "no_such_module:Own")
