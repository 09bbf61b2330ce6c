"""Mplus input and lme4 formulas: recognised, and translated into models that say the same."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("i s | y1@0 y2@1 y3@2;", "# not translated: i s | y1@0 y2@1 y3@2"),
        ("y1-y3 PWITH y2-y4;", "# not translated: y1-y3 PWITH y2-y4"),
        ("xz | x XWITH z;", "# not translated: xz | x XWITH z"),
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
