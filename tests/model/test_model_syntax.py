"""Model text -> statements: operators, modifiers, layout of the text, and messages with line and column."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from simstudy.errors import ModelError
from simstudy.model.syntax import Statement, parse_syntax
from simstudy.model.twolevel import TwoLevelModel


def read(text: str) -> list[tuple[str, str, str, str]]:
    """(level, lhs, op, rhs) of every statement."""
    return [(s.level, s.lhs, s.op, s.rhs) for s in parse_syntax(text)]


def one(term: str, op: str = "~") -> Statement:
    """The single statement of ``y op term``."""
    (found,) = parse_syntax(f"level: within\ny {op} {term}")
    return found


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ModelError) as caught:
        TwoLevelModel.from_syntax(text)
    return caught.value.problems


def test_every_operator() -> None:
    text = """
    level: within
      f =~ y1 + y2
      y1 ~ x
      y1 ~~ y2
      y1 ~ 1
      a == b
    level: between
      z ~ 0
      d := 2 * a
    """
    assert read(text) == [
        ("within", "f", "=~", "y1"),
        ("within", "f", "=~", "y2"),
        ("within", "y1", "~", "x"),
        ("within", "y1", "~~", "y2"),
        ("within", "y1", "~1", ""),
        ("", "a", "==", "b"),
        ("between", "z", "~1", ""),
        ("", "d", ":=", "2 * a"),
    ]
    assert parse_syntax("level: 1\nz ~ 0")[0].fixed == 0.0


@pytest.mark.parametrize(
    ("header", "level"),
    [
        ("level: within", "within"),
        ("level: 1", "within"),
        ("level: between", "between"),
        ("level: 2", "between"),
        ("Level : Within", "within"),
        ("LEVEL:2", "between"),
        ('level: "between"', "between"),
    ],
)
def test_level_headers(header, level) -> None:
    assert read(f"{header}\ny ~ x") == [(level, "y", "~", "x")]


def test_a_level_may_be_taken_up_again() -> None:
    assert [s.level for s in parse_syntax("level: 1\ny~x\nlevel: 2\ny~x\nlevel: 1\nx~~x")] == [
        "within",
        "between",
        "within",
    ]


def test_semicolons_comments_and_blank_lines() -> None:
    text = "level: within; y ~ x; x ~~ x  # not; this\n\n! nor this\nlevel: between  ! nor ; this\n;y ~ x;;\n"
    assert read(text) == [
        ("within", "y", "~", "x"),
        ("within", "x", "~~", "x"),
        ("between", "y", "~", "x"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "y ~ a*x + b*w + z",
        "y ~ a*x +\n   b*w +\n   z",
        "y ~ a*x\n   + b*w\n   + z",
        "y ~\n a*x + b*w\n + z",
        "y ~ a*\n x + b*w + z",
        "y ~ a*x + # first\n\n  b*w + z",
    ],
)
def test_statements_go_on_over_lines(text) -> None:
    found = parse_syntax("level: within\n" + text)
    assert [(s.rhs, s.label) for s in found] == [("x", "a"), ("w", "b"), ("z", "")]
    assert min(s.line for s in found) in (2, 3)


def test_several_variables_on_the_left() -> None:
    assert read("level: 1\ny1 + y2 ~ a*x + z") == [
        ("within", "y1", "~", "x"),
        ("within", "y2", "~", "x"),
        ("within", "y1", "~", "z"),
        ("within", "y2", "~", "z"),
    ]
    assert [s.label for s in parse_syntax("level: 1\ny1 + y2 ~ a*x + z")] == ["a", "a", "", ""]


def test_label_number_and_start() -> None:
    assert one("a*x").label == "a"
    assert one('label("a")*x').label == "a"
    assert one("label(a)*x").label == "a"
    assert one('equal("a")*x').equal == "a"
    assert one("x").label == ""
    assert one("x").fixed is None
    for text, value in {
        "0.5": 0.5,
        "-0.5": -0.5,
        "+.5": 0.5,
        "2": 2.0,
        "2.": 2.0,
        "1e-3": 1e-3,
        "1e+2": 100.0,
        "-1E2": -100.0,
    }.items():
        assert one(f"{text}*x").fixed == value, text
        assert parse_syntax(f"level: 1\ny ~ z + {text}*x")[1].fixed == value, text
        assert parse_syntax(f"level: 1\ny ~ {text}*x + z")[0].fixed == value, text
        assert one(f"start({text})*x").start == value, text
    both = one("start(0.3)*a*x")
    assert (both.start, both.label, both.fixed) == (0.3, "a", None)
    both = one("0.3*a*x")
    assert (both.fixed, both.label) == (0.3, "a")
    assert one("NA*x").freed
    assert not one("x").freed
    assert one('rv("s")*x').random_slope == "s"
    intercept = one("m*1")
    assert (intercept.op, intercept.label, intercept.rhs) == ("~1", "m", "")
    assert one("0*1").fixed == 0.0
    assert one("1*x").fixed == 1.0
    assert one("x.1_a").rhs == "x.1_a"


def test_spaces_do_not_matter() -> None:
    tight, loose = "y~a*x+0.5*z+start(.2)*w", "  y  ~  a * x  +  0.5 * z + start( .2 ) * w  "
    keep = ("lhs", "op", "rhs", "label", "fixed", "start")
    read_both = [[[getattr(s, k) for k in keep] for s in parse_syntax(f"level: 1\n{t}")] for t in (tight, loose)]
    assert read_both[0] == read_both[1]


def test_lines_and_columns() -> None:
    found = parse_syntax("level: within\n\n  y ~ a*x +  b*w; x ~~ w\nlevel: 2\n y ~~ y")
    assert [(s.rhs, s.line, s.column) for s in found] == [("x", 3, 7), ("w", 3, 14), ("w", 3, 24), ("y", 5, 7)]


def test_lines_and_columns_of_continued_statements() -> None:
    found = parse_syntax("level: 1\n y ~ a*x +\n   b*w\n   + z")
    assert [(s.rhs, s.line, s.column) for s in found] == [("x", 2, 6), ("w", 3, 4), ("z", 4, 6)]


def test_names_that_look_like_the_beginning_of_a_number() -> None:
    assert [s.rhs for s in parse_syntax("level: 1\ny ~ grade2e + z")] == ["grade2e", "z"]


WITHIN, BETWEEN = "level: within\n y ~ x\n", "level: between\n y ~ x\n"
NAMED = WITHIN + "level: between\n y ~ beta*x\n"
MESSAGES = {
    "before any level": ("y ~ x", "line 1, column 1: 'y ~ x' stands before any 'level:' line"),
    "unknown level": (
        WITHIN + BETWEEN + "level: withn\n y ~ z",
        "line 5, column 1: 'withn' would be a third level; two are supported",
    ),
    "level 3": ("level: 3\n", "line 1, column 1: '3' would be a third level; two are supported"),
    "no level": ("level:\n y ~ x", "line 1, column 1: 'level:' needs a name"),
    "block": ("block: 1\n", "line 1, column 1: 'block:' is not supported"),
    "no operator": (WITHIN + "  a*x", "line 3, column 3: no operator in 'a*x'"),
    "nothing before": (WITHIN + "  ~ x", "line 3, column 3: nothing stands before '~'"),
    "nothing after": (WITHIN + "  y ~~", "nothing stands after '~~'"),
    "missing term": (WITHIN + "  y ~ a +", "a term is missing beside '+'"),
    "formative": (WITHIN + " f <~ x", "line 3, column 2: formative constructs (<~) are not supported"),
    "scaling": (WITHIN + " y ~*~ y", "scaling factors (~*~) are not supported"),
    "thresholds": (WITHIN + " y | t1", "thresholds (|) of ordinal variables are not supported"),
    "inequality": (NAMED + " betta > 0", "line 5: 'betta' in 'betta > 0' is no label of this model (did you mean"),
    "start": (WITHIN + " y ~ start(a)*z", "line 3, column 6: start(a) needs one number"),
    "unknown modifier": (
        WITHIN + " y ~ z + foo(2)*w",
        "line 3, column 10: unknown modifier 'foo(2)'; allowed: a number",
    ),
    "misspelt modifier": (WITHIN + " y ~ strt(2)*w", "(did you mean 'start'?)"),
    "groups": (WITHIN + " y ~ c(1, 2)*z", "line 3, column 6: 'c(1, 2)' gives one value a group"),
    "bad modifier": (WITHIN + " y ~ 2a*z", "line 3, column 6: modifier '2a' is neither a number nor a name"),
    "interaction": (WITHIN + " y ~ x:z:w", "line 3, column 6: 'x:z:w' multiplies 3 variables"),
    "function": (WITHIN + " y ~ log(x)", "line 3, column 6: 'log(x)' is not a variable name; functions of variables"),
    "name": (WITHIN + " y ~ 2x", "line 3, column 6: '2x' is not a variable name"),
    "left name": (WITHIN + " y x ~ z", "line 3, column 2: 'y x' is not a variable name (left of '~')"),
    "defined name": (WITHIN + BETWEEN + " 2d := 3", "line 5, column 2: '2d' is not a name for a defined parameter"),
    "expression": (WITHIN + BETWEEN + " d := 2 * (3", "line 5, column 7: missing ')'"),
    "on itself": (WITHIN + BETWEEN + " y ~ y", "line 5, column 6: 'y' is regressed on itself; a variance is written"),
    "two labels": (WITHIN + " y ~ a*z + b*z\n" + BETWEEN, "line 3, column 12: 'y ~ z' has two labels, 'a' and 'b'"),
    "no text": ("  # nothing", "model: the text holds no statement"),
    "one level": (WITHIN, "model: there is no 'level: between' block"),
    "other level": (BETWEEN, "model: there is no 'level: within' block"),
    "mean twice": ("level: 1\n y ~ x\n y ~ 1\n" + BETWEEN, "the mean of 'y' is free at both levels; only their sum"),
    "both kinds": ("level: 1\n f =~ a + b\nlevel: 2\n a ~ f", "'f' is a latent variable at one level and an observed"),
    "unknown in :=": (
        NAMED + " d := 2*betta",
        "line 5: 'betta' in 'd := 2*betta' is no label of this model (did you mean",
    ),
    "defined twice": (NAMED + " d := beta\n d := 2", "line 6: 'd' is defined twice, or is a label already"),
    "defined label": (NAMED + " beta := 2", "line 5: 'beta' is defined twice, or is a label already"),
    "unknown in ==": (NAMED + " beta == cc", "line 5: 'cc' in 'beta == cc' is no label of this model"),
    "random loading": (
        'level: 1\n f =~ rv("l")*a + b\nlevel: 2\n a ~~ a',
        "column 7: random loadings (rv() on",
    ),
    "random variance": (
        'level: 1\n y ~~ rv("v")*y\nlevel: 2\n y ~~ y',
        "random variances and covariances (rv()",
    ),
    "random mean": ('level: 1\n y ~ x + rv("v")*1\nlevel: 2\n y ~~ y', "a random intercept needs no rv()"),
    "slope between": ('level: 1\n y ~ x\nlevel: 2\n y ~ rv("s")*x', "a random slope is a path of the within block"),
    "slope of a between factor": (
        'level: 1\n y ~ rv("s")*f\nlevel: 2\n f =~ a + b\n y ~~ s',
        "line 2, column 6: 'rv(\"s\")*f': 'f' is measured in the between block",
    ),
    "slope's name taken": ('level: 1\n y ~ rv("x")*x\nlevel: 2\n y ~~ y', "'x' has the name of another variable"),
    "slope's name twice": (
        'level: 1\n y ~ rv("s")*x + rv("s")*w\nlevel: 2\n y ~~ y',
        "column 18: the random slope 's' is that of another path already (line 2)",
    ),
    "slope and label": ('level: 1\n y ~ a*rv("s")*x\nlevel: 2\n y ~~ y', "label, value or start may stand ('s ~ a*1')"),
    "path and slope": ('level: 1\n y ~ rv("s")*x\n y ~ b*x\nlevel: 2\n y ~~ y', "the path 'y ~ x' is written twice"),
    "loop with slopes": (
        'level: 1\n y ~ rv("s")*m\n m ~ y\nlevel: 2\n y ~~ m',
        "the paths of the within block form a loop through",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_say_where_what_and_what_is_allowed(name) -> None:
    text, expected = MESSAGES[name]
    found = problems(text)
    assert any(expected in problem for problem in found), found
    assert all(problem.startswith("model") for problem in found)


def test_all_problems_of_a_text_are_told_at_once() -> None:
    found = problems("level: 1\n y ~ 2x\n y <~ z\nlevel: 2\n y ~ foo(1)*x")
    assert [problem.split(":")[0] for problem in found] == [
        "model line 2, column 6",
        "model line 3, column 2",
        "model line 5, column 6",
    ]


def test_one_problem_gives_one_message() -> None:
    assert len(problems("level: 3\n y ~ x\nlevel: 2\n y ~ x")) == 1


def test_number_of_a_missing_start_is_nan() -> None:
    row = TwoLevelModel.from_syntax(WITHIN + BETWEEN).table.rows[0]
    assert np.isnan(row.start)
    assert np.isnan(row.value)


def test_texts_read_again_give_the_same_model_and_are_forgotten_in_time() -> None:
    text = "level: 1\n y ~ b*x\nlevel: 2\n y ~ c*x"
    first = TwoLevelModel.from_syntax(text)
    assert TwoLevelModel.from_syntax(text) is first
    assert TwoLevelModel.from_syntax(text, std_lv=True) is not first
    assert pickle.loads(pickle.dumps(first)).names == first.names
    for k in range(200):
        TwoLevelModel.from_syntax(text + f"\ne{k} := c - b")
    again = TwoLevelModel.from_syntax(text)
    assert again is not first  # memory does not grow with the number of texts
    assert again.names == first.names
