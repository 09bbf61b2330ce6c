"""Mplus input and lme4 formulas: recognised, and translated into models that say the same."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from simstudy.analysis.fit import fit
from simstudy.errors import ModelError
from simstudy.model.foreign import is_foreign
from simstudy.model.lme4_text import translate_lme4
from simstudy.model.mplus_text import translate_mplus
from simstudy.model.twolevel import TwoLevelModel

MPLUS = """
TITLE:    a two-level CFA with covariates, y ON x in the title;
DATA:     FILE IS ex.dat;
VARIABLE: NAMES ARE y1-y4 x1 x2 w clus;
          WITHIN = x1 x2;  BETWEEN = w;
          CLUSTER = clus;
ANALYSIS: TYPE = TWOLEVEL RANDOM;
          ESTIMATOR = MLR;
MODEL:
  %WITHIN%
    fw BY y1-y4;      ! a factor
    fw ON x1 (b)
          x2@0.5;
    y1 WITH y2;
    s | Y3 ON x2;
  %BETWEEN%
    fb BY y1* y2-y3 (l)
          y4*0.8 (4);
    fb@1;
    y1-y4@0;
    fb ON w (bb);
    [y1] (m1);
    [s*0.3];
    fb WITH s@0;
MODEL CONSTRAINT:
    NEW(ind);
    ind = b*bb;
    m1 > 0;
    l = 2*p4;
"""
HERE = """
level: within
  fw =~ y1 + y2 + y3 + y4
  fw ~ b*x1 + 0.5*x2
  y1 ~~ y2
  y3 ~ rv("s")*x2
level: between
  fb =~ NA*y1 + l*y1 + l*y2 + l*y3 + start(.8)*y4 + p4*y4
  fb ~~ 1*fb
  y1 ~~ 0*y1
  y2 ~~ 0*y2
  y3 ~~ 0*y3
  y4 ~~ 0*y4
  fb ~ bb*w
  y1 ~ m1*1
  s ~ start(.3)*1
  fb ~~ 0*s
ind := b*bb
m1 > 0
l == 2*p4
"""


def content(text: str) -> tuple[object, ...]:
    table = TwoLevelModel.from_syntax(text).table
    rows = sorted((r.path, r.label, str(r.value), str(r.start), r.slope, r.lower, r.free >= 0) for r in table.rows)
    return rows, [name for name, _ in table.defined], [c.text for c in table.constraints]


def test_an_input_of_mplus_becomes_the_same_model() -> None:
    found = translate_mplus(MPLUS)
    assert content(found.model) == content(HERE)
    assert found.cluster == "clus"
    assert found.options == "--estimator MLR"


def test_the_model_command_alone_will_do() -> None:
    begin = MPLUS.index("  %WITHIN%")
    alone = translate_mplus(MPLUS[begin : MPLUS.index("MODEL CONSTRAINT")])
    assert content(alone.model)[0] == content(HERE.split("ind :=")[0])[0]


def test_the_message_shows_the_model_and_the_call() -> None:
    with pytest.raises(ModelError) as caught:
        TwoLevelModel.from_syntax(MPLUS)
    (problem,) = caught.value.problems
    assert "fw =~ y1 + y2 + y3 + y4" in problem
    assert "--cluster clus --estimator MLR" in problem


def test_lists_of_labels_go_through_both_sides() -> None:
    found = translate_mplus("MODEL: %WITHIN%\n y1-y2 ON x1-x2 (b1-b4);\n y3 ON x1 x2 (c);\n%BETWEEN%\n y1-y2 (v1-v2);")
    here = "level: within\n y1 ~ b1*x1 + b2*x2\n y2 ~ b3*x1 + b4*x2\n y3 ~ c*x1 + c*x2\n"
    here += "level: between\n y1 ~~ v1*y1\n y2 ~~ v2*y2"
    assert content(found.model) == content(here)


FACTOR = "  y4 ~ x\nlevel: between\n y1 ~~ y1"


@pytest.mark.parametrize(
    ("statement", "here"),
    [
        ("f BY y1-y3 (1);", "f =~ y1 + p1*y2 + p1*y3"),
        ("f BY y1* y2-y3 (1); f@1;", "f =~ NA*y1 + p1*y1 + p1*y2 + p1*y3\n f ~~ 1*f"),
        ("f BY y1-y3* (a); f@1;", "f =~ NA*y1 + a*y1 + a*y2 + a*y3\n f ~~ 1*f"),
        ("f BY y1@1 y2 y3 (a);", "f =~ 1*y1 + a*y2 + a*y3"),
        ("f BY y1 y2@.5 y3 (a);", "f =~ y1 + .5*y2 + a*y3"),
        ("f BY y1-y3 (a1-a3);", "f =~ y1 + a2*y2 + a3*y3"),
        ("f BY y1-y3 (a1 A2 a3);", "f =~ y1 + A2*y2 + a3*y3"),
        ("f BY y1 y2; f BY y3 (a);", "f =~ y1 + y2 + a*y3"),
        ("f BY y1-y3; y1@0 y2 y3 (v);", "f =~ y1 + y2 + y3\n y1 ~~ 0*y1\n y2 ~~ v*y2\n y3 ~~ v*y3"),
        ("f BY y1-y3; y1 ON x z (b1 b2);", "f =~ y1 + y2 + y3\n y1 ~ b1*x + b2*z"),
        ("f BY y1-y3; y1 ON x z (b1, B1);", "f =~ y1 + y2 + y3\n y1 ~ b1*x + b1*z"),
    ],
)
def test_a_label_equates_what_is_free(statement, here) -> None:
    found = translate_mplus(f"%WITHIN%\n{statement}\n y4 ON x;\n%BETWEEN%\n y1;")
    assert content(found.model) == content(f"level: within\n {here}\n {FACTOR}")


def test_labels_of_fixed_parameters_are_numbers_in_equations() -> None:
    end = "%BETWEEN%\n y1;\nMODEL CONSTRAINT: NEW(D e); d = A*b; E = 2*D;"
    found = translate_mplus(f"MODEL: %WITHIN%\n f BY y1 (a)\n y2 (b)\n y3;\n{end}")
    model = TwoLevelModel.from_syntax(found.model)
    assert model.table.constants == {"a": 1.0}
    assert model.reported[-2:] == ("D", "e")
    shared = translate_mplus(f"MODEL: %WITHIN%\n f BY y1-y2 (a)\n y3 (b);\n{end}")
    assert TwoLevelModel.from_syntax(shared.model).names[:2] == ("a", "b")  # a is the free loading of y2


def test_equal_loadings_fit_as_in_mplus() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(60), 5)
    common, own = rng.normal(size=(60, 1))[g] * 0.7 + rng.normal(size=(300, 1)), rng.normal(size=(300, 3))
    data = pd.DataFrame(common * [1.0, 1.6, 1.6] + own, columns=["y1", "y2", "y3"]).assign(g=g)
    found = fit(translate_mplus("%WITHIN%\nfw BY y1-y3 (1);\n%BETWEEN%\nfb BY y1-y3;").model, data, cluster="g")
    loadings = found.parameters.query("level == 'within' and op == '=~'")["est"].to_numpy()
    assert loadings[0] == 1.0
    assert loadings[1] == loadings[2]
    assert abs(loadings[1] - 1.6) < 0.4  # 4 standard errors of about .1; all loadings at 1 is what it must not be
    assert found.measures["df"] == 1


def test_a_model_without_levels_is_that_of_the_pooled_rows() -> None:
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(50), 4)
    x = rng.normal(size=(200, 2)) + rng.normal(size=(50, 2))[g]
    data = pd.DataFrame({"y": x @ [0.5, -0.3] + rng.normal(size=50)[g] + rng.normal(size=200), "g": g})
    data[["x1", "x2"]] = x
    text = "VARIABLE: NAMES = y x1 x2 g; CLUSTER = g; ANALYSIS: TYPE = COMPLEX;\nMODEL: y ON x1 x2 (b1 b2); [y] (m);"
    found = translate_mplus(text.replace("ANALYSIS", "\nANALYSIS"))
    assert "--estimator disaggregated_robust" in found.options
    done = fit(found.model, data, cluster=found.cluster, estimator="disaggregated_robust")
    ones = np.column_stack([x, np.ones(200)])
    by_hand = np.linalg.lstsq(ones, data["y"], rcond=None)[0]
    values = done.parameters.drop_duplicates("label").set_index("label")["est"]
    np.testing.assert_allclose(values[["b1", "b2", "m"]], by_hand, atol=1e-6)  # where the iterations stop


@pytest.mark.parametrize(
    ("missing", "options"),
    [
        ("MISSING = ALL(-99);", ["--na", "-99", "--missing", "fiml"]),
        ("MISSING ARE ALL (-99 -98) ;", ["--na", "-99,-98", "--missing", "fiml"]),
        ("MISSING = y (97-99) x (-1);", ["--na", "97,98,99,-1", "--missing", "fiml"]),
        ("MISSING = *;", ["--na", "*", "--missing", "fiml"]),
        ("MISSING = BLANK;", ["--missing", "fiml"]),
        ("MISSING = ALL(9); DATA: LISTWISE = ON;", ["--na", "9"]),
        ("", []),
    ],
)
def test_missing_values_are_those_of_the_input(missing, options) -> None:
    text = f"VARIABLE: NAMES = y x g; CLUSTER = g; {missing}\nMODEL:\n%WITHIN%\ny ON x;\n%BETWEEN%\ny;"
    assert shlex.split(translate_mplus(text.replace(" DATA", "\nDATA")).options) == options


def test_commands_without_a_counterpart_stand_in_comments() -> None:
    found = translate_mplus(
        "MODEL:\n%WITHIN%\nm ON x (a);\ny ON m (b);\n%BETWEEN%\ny m;\nMODEL INDIRECT:\n y IND m x;\n"
        "MODEL PRIORS: a ~ N(0, 1);\nMODEL male: [y];\nMODEL CONSTRAINT: PLOT(z); LOOP(x, 1, 2, .1);"
    )
    comments = [line for line in found.model.splitlines() if line.startswith("# not translated")]
    assert [next(w for w in ("IND m x", "N(0, 1)", "[y]", "PLOT", "LOOP") if w in line) for line in comments]
    assert len(comments) == 5
    assert TwoLevelModel.from_syntax(found.model).names[:2] == ("a", "b")


def test_a_test_of_parameters_becomes_that_of_wald() -> None:
    found = translate_mplus("MODEL:\n%WITHIN%\nm ON x z (A b);\n%BETWEEN%\nm;\nMODEL TEST: 0 = a - 2*b; B = .5;")
    assert shlex.split(found.options) == ["--wald", "0 == A - 2*b; b == .5"]


def test_what_the_fit_does_not_know_is_noted() -> None:
    found = translate_mplus(
        "VARIABLE: NAMES = y x g h; CLUSTER = h g; USEOBS = x EQ 1; STRAT = h;\nANALYSIS: TYPE = THREELEVEL; "
        "ESTIMATOR = BAYES;\nMODEL:\n%WITHIN%\ny ON x;\n%BETWEEN%\ny;"
    )
    told = " ".join(found.notes)
    assert all(word in told for word in ("USEOBSERVATIONS", "THREELEVEL", "BAYES", "h, g"))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("y x z (a b);", "# not translated: y x z (a b) (2 labels for 3 parameters"),
        ("f1-f2 BY y1-y4 (*1);", "# not translated: f1-f2 BY y1-y4 (*1) ('(*1)' is no label"),
        ("i s | y1@0 y2@1 y3@2;", "# not translated: i s | y1@0 y2@1 y3@2 (a growth curve"),
        ("y1-y3 PWITH y2-y4;", "# not translated: y1-y3 PWITH y2-y4"),
        ("xz | x XWITH z;", "# not translated: xz | x XWITH z (interactions of latent"),
        ("[u$1];", "# not translated"),
    ],
)
def test_what_has_no_counterpart_is_said(statement, said) -> None:
    found = translate_mplus(f"MODEL: %WITHIN%\n y ON x;\n{statement}\n%BETWEEN%\n y ON w;")
    assert any(line.strip().startswith(said) for line in found.model.splitlines()), found.model
    TwoLevelModel.from_syntax(found.model)  # the rest can be read


def test_categorical_and_groups_are_pointed_out() -> None:
    found = translate_mplus(
        "VARIABLE: NAMES = u x g c; CATEGORICAL = u; GROUPING = g(1=a); CLUSTER = c;\nMODEL: u ON x;"
    )
    assert {note.split(":")[0] for note in found.notes} >= {"CATEGORICAL", "GROUPING"}


FORMULAS = {
    "y ~ x + (1 | school)": ("y ~ x", "y ~ 1\n y ~~ y"),
    "y ~ 1 + (1 | school)": ("y ~~ y", "y ~ 1\n y ~~ y"),
    "y ~ x + (1 + x | school)": ('y ~ rv("s_x")*x', "y ~ 1\n y ~~ y\n s_x ~ 1\n s_x ~~ s_x\n y ~~ s_x"),
    "y ~ x + (x || school)": ('y ~ rv("s_x")*x', "y ~ 1\n y ~~ y\n s_x ~ 1\n s_x ~~ s_x\n y ~~ 0*s_x"),
    "y ~ z + (0 + x | school)": ('y ~ z + rv("s_x")*x', "y ~ 1\n y ~~ 0*y\n s_x ~ 0*1\n s_x ~~ s_x"),
    "lme4::lmer(y ~ x*z + (1 | school), data = d, REML = FALSE)": ("y ~ x + z + x:z", "y ~ 1\n y ~~ y"),
    "m <- lmer(y ~ x + z + (x + z | school), d)": (
        'y ~ rv("s_x")*x + rv("s_z")*z',
        "y ~ 1\n y ~~ y\n s_x ~ 1\n s_x ~~ s_x\n y ~~ s_x\n s_z ~ 1\n s_z ~~ s_z\n y ~~ s_z\n s_x ~~ s_z",
    ),
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_of_lme4_become_the_same_model(formula) -> None:
    assert is_foreign(formula)
    found = translate_lme4(formula)
    within, between = FORMULAS[formula]
    assert content(found.model) == content(f"level: within\n {within}\nlevel: between\n {between}")
    assert found.cluster == "school"


PLACED = {
    "y ~ x + w + (1 | school)": ("y ~ x", "y ~ 1 + w\n y ~~ y"),
    "y ~ w * v + (1 | school)": ("y ~~ y", "y ~ 1 + w + v + w:v\n y ~~ y"),
    "y ~ x * w + (1 | school)": ("y ~ x + x:w", "y ~ 1 + w\n y ~~ y"),
    "y ~ x * w + (1 + x | school)": (
        'y ~ rv("s_x")*x',
        "y ~ 1 + w\n y ~~ y\n s_x ~ 1 + w\n s_x ~~ s_x\n y ~~ s_x",
    ),
    "y ~ w + w:x + v:x + z + (x || school)": (
        'y ~ z + rv("s_x")*x',
        "y ~ 1 + w\n y ~~ y\n s_x ~ 0*1 + w + v\n s_x ~~ s_x\n y ~~ 0*s_x",
    ),
}


@pytest.mark.parametrize("formula", PLACED)
def test_the_data_tell_where_a_predictor_stands(formula) -> None:
    within, between = PLACED[formula]
    found = translate_lme4(formula, frozenset(["w", "v"]))
    assert content(found.model) == content(f"level: within\n {within}\nlevel: between\n {between}")


def test_a_slope_that_cannot_vary_over_clusters_is_said() -> None:
    found = translate_lme4("y ~ x + w + (1 + w | school)", frozenset("w"))
    assert content(found.model) == content("level: within\n y ~ x\nlevel: between\n y ~ 1 + w\n y ~~ y")
    assert "# not translated: the slope of w" in found.model


def test_a_formula_with_its_data_can_be_fitted_as_translated() -> None:
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(40), 6)
    w = rng.normal(size=40)[g]
    x, e = rng.normal(size=(2, 240))
    y = 0.4 * x + 0.5 * w + 0.3 * x * w + rng.normal(size=40)[g] + e
    data = pd.DataFrame({"g": g, "w": w, "x": x, "y": y})
    with pytest.raises(ModelError) as caught:
        fit("y ~ x * w + (1 | g)", data, cluster="g")
    text = str(caught.value)
    shown = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    assert "--cluster g" in text
    found = fit("\n".join(shown), data, cluster="g")
    ours = found.parameters.query("op == '~'").set_index(["lhs", "rhs"])["est"]
    values = [ours["y", name] for name in ("x", "w", "x:w")]
    design = np.column_stack([np.ones(240), x, w, x * w])
    theirs = MixedLM(y, design, groups=g).fit(reml=False).params[1:4]
    np.testing.assert_allclose(values, theirs, atol=1e-4)  # MixedLM's optimiser stops at gradients of 1e-5


def test_parts_of_a_formula_that_have_no_counterpart_are_said() -> None:
    found = translate_lme4("y ~ I(x^2) + poly(z, 2) + v + (1 | school/class)")
    assert "I(x^2)" in found.model
    assert "third level" in found.model
    assert "y ~ v" in found.model


@pytest.mark.parametrize(
    "text",
    [
        "level: within\n y ~ x\nlevel: between\n y ~ w",
        "level: 1\n by ~ on\nlevel: 2\n by ~ with",
        "level: within\n y ~ x # y ON x;\nlevel: between\n y ~ (1/2)*w ! %WITHIN%",
        "y ~ x",
    ],
)
def test_our_own_texts_are_not_taken_for_others(text) -> None:
    assert not is_foreign(text)
