"""The table of docs/syntax.md, row by row: what each construct is read as, or how it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simstudy.errors import ModelError
from simstudy.model.expressions import FUNCTIONS, MAX_DEPTH, parse_expression
from simstudy.model.products import product_notes
from simstudy.model.rows import Parameter
from simstudy.model.twolevel import TwoLevelModel

DOCS = Path(__file__).parents[2] / "docs" / "syntax.md"
Check = Callable[[], None]
BETWEEN = "  y ~ w"
CFA = "  f =~ y1 + y2 + {}\n  f ~ x"


def text_of(within: str = "  y ~ x", between: str = BETWEEN, tail: str = "") -> str:
    return f"level: within\n{within}\nlevel: between\n{between}\n{tail}"


def model(within: str = "  y ~ x", between: str = BETWEEN, tail: str = "", **options) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(text_of(within, between, tail), **options)


def row(found: TwoLevelModel, path: str) -> Parameter:
    return next(r for r in found.table.rows if r.path == path)


def content(found: TwoLevelModel) -> list[tuple[object, ...]]:
    """Everything that a parameter table says."""
    return [(r.path, r.label, r.free, str(r.value), str(r.start), r.slope, r.lower, r.upper) for r in found.table.rows]


def same(one: str, other: str, *, level: str = "within") -> Check:
    """Two statements of a block that mean the same."""

    def check() -> None:
        first, second = (model(t) if level == "within" else model(between=t) for t in (f"  {one}", f"  {other}"))
        assert content(first) == content(second)

    return check


def refused(expected: str, within: str = "  y ~ x", between: str = BETWEEN, tail: str = "", text: str = "") -> Check:
    """A text that is refused with a message that says so and where."""

    def check() -> None:
        with pytest.raises(ModelError) as caught:
            TwoLevelModel.from_syntax(text or text_of(within, between, tail))
        assert any(expected in problem for problem in caught.value.problems), caught.value.problems

    return check


def reads(test: Callable[[TwoLevelModel], bool], **parts: str) -> Check:
    """A text that is read, and what holds of it."""

    def check() -> None:
        assert test(model(**parts))

    return check


def x_row(modifier: str, test: Callable[[Parameter], bool]) -> Check:
    return reads(lambda m: test(row(m, "within: y ~ x")), within=f"  y ~ {modifier}*x")


def fixed(modifier: str, value: float) -> Check:
    # arithmetic of doubles: the last digit
    return x_row(modifier, lambda r: r.free == -1 and abs(r.value - value) < 1e-15)


def noted(found: TwoLevelModel, *words: str) -> bool:
    return any(all(word in note for word in words) for note in found.table.notes)


def levels(first: str, second: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(f"level: {first}\n  y ~ x\nlevel: {second}\n  y ~ w")


def check_level_words() -> None:
    assert content(levels("within", "between")) == content(levels("Within", '"between"'))
    assert not levels("within", "between").table.notes


def check_level_numbers() -> None:
    assert content(levels("1", "2")) == content(levels("within", "between")) == content(levels("1", "school"))


def check_level_names() -> None:
    found = levels("person", "Schüler innen")
    assert content(found) == content(levels("1", "2"))
    assert noted(found, "'person' is level 1", "'Schüler innen' is level 2")
    assert content(levels("betwen", "within")) != content(levels("1", "2"))  # the other one is taken by its word


def check_order() -> None:
    found = TwoLevelModel.from_syntax("level: between\n y ~ w\nlevel: within\n y ~ x")
    assert content(found) == content(levels("within", "between"))
    assert noted(found, "between block stands first", "lavaan")


def check_lines() -> None:
    plain = content(model("  y ~ a*x + z"))
    for text in ("  y ~ a*x +\n z", "  y ~ a*x\n + z", "  y ~\n a*x + z", "  y ~ a *\n x + z"):
        assert content(model(text)) == plain, text
    long = model(within="  y ~ a*x", tail="d := tanh(a) -\n  0.5\ne := max(a,\n  0)\ng := 2 * (a\n + 1)")
    assert [name for name, _ in long.table.defined] == ["d", "e", "g"]


def check_comments() -> None:
    assert content(model("  y ~ x # and ; no z\n ! nor w")) == content(model("  y ~ x"))
    assert row(model('  y ~ "a#b"'), "within: y ~ a#b").free >= 0  # not within quotes


def check_names() -> None:
    found = TwoLevelModel.from_syntax("level: 1\n größe ~ успех + ärger\nlevel: 2\n größe ~ 年級")
    assert found.variables == ("größe", "успех", "ärger", "年級")
    d = TwoLevelModel.from_syntax("level: 1\n y ~ β*x\nlevel: 2\n y ~~ y\nδ := β^2")
    assert d.names[0] == "β"
    assert d.estimands.defined_names == ("δ",)


def check_ties() -> None:
    found = model(CFA.format('equal("f=~y2")*y3'))
    assert row(found, "within: f =~ y2").free == row(found, "within: f =~ y3").free >= 0
    assert found.table.n_free == model(CFA.format("y3")).table.n_free - 1
    assert not row(found, "within: f =~ y3").label
    chain = model('  f =~ y1 + y2 + equal("f=~y2")*y3 + equal("f=~y3")*y4\n  f ~ x')
    assert len({row(chain, f"within: f =~ y{k}").free for k in (2, 3, 4)}) == 1


def check_ties_of_level_2() -> None:
    between = '  f =~ y1 + y2 + equal("f=~y2.l2")*y3'
    found = model(CFA.format("y3"), between)
    assert row(found, "between: f =~ y3").free == row(found, "between: f =~ y2").free
    assert row(found, "between: f =~ y3").free != row(found, "within: f =~ y2").free
    across = model(CFA.format("y3"), between.replace(".l2", ""))
    assert row(across, "between: f =~ y3").free == row(across, "within: f =~ y2").free
    refused("at level 1", CFA.format("y3"), between.replace("f=~y2.l2", "g=~y2").replace("f =~", "g =~"))()


def check_defined(text: str, at: dict[str, float], expected: float) -> Check:
    def check() -> None:
        found = model("  y ~ a*x + b*z", tail=text)
        params = np.zeros(len(found.names))
        for name, value in at.items():
            params[found.names.index(name)] = value
        assert found.estimands.evaluate(params)[-1] == pytest.approx(expected, rel=1e-14)  # rounding

    return check


def check_product(within: str, between: str, *words: str) -> Check:
    def check() -> None:
        found = model(within, between)
        assert any(all(word in note for word in words) for note in product_notes(found)), product_notes(found)

    return check


def check_auto(written: str) -> Check:
    def check() -> None:
        within = f"  y ~ x + v\n  y2 ~ z + y\n  {written}"
        kept, dropped = model(within), model(within, auto="lavaan")
        gone = {r.path for r in kept.table.rows} - {r.path for r in dropped.table.rows}
        assert gone == {"within: x ~~ z", "within: v ~~ z"}
        assert noted(kept, "x ~~ z", "v ~~ z", "--auto lavaan")
        assert noted(dropped, "x ~~ z", "fixed at 0")
        plain = within.replace(f"\n  {written}", "")
        assert content(model(plain)) == content(model(plain, auto="lavaan"))
        assert not model(plain).table.notes

    return check


def bound(tail: str, lower: float, upper: float) -> Check:
    def check() -> None:
        found = row(model("  y ~ a*x", tail=tail), "within: y ~ x")
        assert (found.lower, found.upper) == (lower, upper)

    return check


AB = {"within": "  y ~ a*x + b*z"}
INF = np.inf
CASES: dict[str, Check] = {
    "`level: within`": check_level_words,
    "`level: 1`": check_level_numbers,
    "`level: person`": check_level_names,
    "`level: between` first": check_order,
    "`level: school3` as a third name": refused("'school3' would be a third level", tail="level: school3\n y ~ v"),
    "`block: 1`": refused("column 1: 'block:' is not supported", text="block: 1\n y ~ x\nblock: 2\n y ~ w"),
    "`group: a`": refused("'group:' is not supported: groups", text="group: a\nlevel: 1\n y ~ x\nlevel: 2\n y ~ w"),
    "`class: 1`": refused("'class:' is not supported", text="class: 1\nlevel: 1\n y ~ x\nlevel: 2\n y ~ w"),
    "`# comment`": check_comments,
    "`y ~ x; y ~~ y`": same("y ~ x; y ~~ y", "y ~ x\n  y ~~ y"),
    "`y ~ a*x +`": check_lines,
    "`f =~ y1 + y2`": reads(lambda m: row(m, "within: f =~ y1").value == 1.0, within="  f =~ y1 + y2"),
    "`y ~ x`": reads(lambda m: row(m, "within: y ~ x").free >= 0),
    "`y ~~ z`": reads(lambda m: m.table.find("within", "z", "~~", "y").free >= 0, within="  y ~ x\n  y ~~ z"),
    "`y ~ 1`": reads(lambda m: row(m, "between: y ~ 1").free >= 0, between="  y ~ 1"),
    "`y ~ 0`": reads(lambda m: row(m, "between: y ~ 1").value == 0.0, between="  y ~ 0"),
    "`y1 + y2 ~ x`": same("y1 + y2 ~ x", "y1 ~ x\n  y2 ~ x"),
    "`y1-y3 ~ x`": same("y1-y3 ~ a*x + z01-z02", "y1 + y2 + y3 ~ a*x + z01 + z02"),
    "`f <~ x`": refused("line 2, column 3: formative constructs (<~)", "  f <~ x"),
    "`y ~*~ y`": refused("scaling factors", "  y ~*~ y"),
    "`y | t1`": refused("thresholds", "  y | t1"),
    "`y ~ x ~ z`": refused("line 2, column 9: a second operator, '~'", "  y ~ x ~ z"),
    "`a*x`": x_row("a", lambda r: r.label == "a" and r.free >= 0),
    '`"a"*x`': same('y ~ "a"*x', "y ~ a*x"),
    '`label("a")*x`': same('y ~ label("a")*x', "y ~ a*x"),
    "`c(a)*x`": same('y ~ c(a)*x + c("b")*z + c(.5)*v', "y ~ a*x + b*z + .5*v"),
    "`c(a, b)*x`": refused("gives one value a group", "  y ~ c(a, b)*x"),
    "`0.5*x`": fixed("0.5", 0.5),
    "`-0.5*x`": fixed("-0.5", -0.5),
    "`(.05/(1 - .05))*x`": fixed("(.05/(1 - .05))", 0.05 / 0.95),
    "`sqrt(4)*x`": fixed("sqrt(4)", 2.0),
    "`2*3*x`": fixed("2*3", 6.0),
    "`(2*a)*x`": refused("computes with the name 'a'", "  y ~ (2*a)*x"),
    "`-a*x`": refused("computes with the name 'a'", "  y ~ -a*x"),
    "`NA*x`": reads(lambda m: row(m, "within: f =~ y1").free >= 0, within="  f =~ NA*y1 + y2\n f ~~ 1*f"),
    "`start(.8)*x`": x_row("start(.8)", lambda r: r.start == 0.8 and r.free >= 0),
    "`.8?x`": same("y ~ .8?x", "y ~ start(.8)*x"),
    "`a*x + start(.8)*x`": x_row("a*x + start(.8)", lambda r: (r.label, r.start) == ("a", 0.8) and r.free >= 0),
    "`start(.8)*a*x`": reads(
        lambda m: (row(m, "within: y ~ x").label, row(m, "within: y ~ x").start) == ("a", 0.8) and noted(m, "lavaan"),
        within="  y ~ start(.8)*a*x",
    ),
    "`0.3*a*x`": reads(
        lambda m: m.table.constants == {"a": 0.3} and noted(m, "line 2, column 7", "lavaan"), within="  y ~ 0.3*a*x"
    ),
    "`a*x + b*x`": refused("line 2, column 13: 'y ~ x' has two labels, 'a' and 'b'", "  y ~ a*x + b*x"),
    "`0.5*x + 0.7*x`": refused("is fixed at 0.5 and 0.7", "  y ~ 0.5*x + 0.7*x"),
    "`NA*x + 0.5*x`": refused("both freed by NA and fixed", "  y ~ NA*x + 0.5*x"),
    '`equal("f=~y2")*y3`': check_ties,
    '`equal("f=~y2.l2")*y3`': check_ties_of_level_2,
    '`equal("a")*y3`': same('f =~ y1 + a*y2 + equal("a")*y3', "f =~ y1 + a*y2 + a*y3"),
    '`equal("f=~y9")*y3`': refused("no parameter of this model (did you mean", CFA.format('equal("f=~y9")*y3')),
    '`equal("f=~y2")*y3` with `a*y2`': refused('write equal("a")', '  f =~ y1 + a*y2 + equal("f=~y2")*y3'),
    "`lower(0)*x`": x_row("lower(0)", lambda r: (r.lower, r.upper) == (0.0, INF) and r.free >= 0),
    "`upper(1)*x`": x_row("upper(1)", lambda r: (r.lower, r.upper) == (-INF, 1.0) and r.free >= 0),
    "`lower(1)*x + upper(0)*x`": refused("lower bound 1 above its upper bound 0", "  y ~ lower(1)*x + upper(0)*x"),
    '`rv("s")*x`': reads(lambda m: [s.name for s in m.slopes] == ["s"], within='  y ~ rv("s")*x'),
    '`rv("s")*f`, f a within factor': reads(
        lambda m: [(s.name, s.predictor) for s in m.slopes] == [("s", "f")],
        within='  f =~ y1 + y2 + y3\n  y ~ rv("s")*f',
    ),
    '`rv("l")*y1`': refused("random loadings", '  f =~ rv("l")*y1 + y2'),
    '`prior("normal(0,1)")*x`': refused("priors", '  y ~ prior("normal(0,1)")*x'),
    '`efa("e")*f`': refused("exploratory factors", '  efa("e")*f =~ y1 + y2'),
    "`a == b`": reads(lambda m: m.table.n_free == model(**AB).table.n_free - 1, **AB, tail="a == b"),
    "`a == 0.5`": reads(lambda m: m.table.constants == {"a": 0.5}, **AB, tail="a == 0.5"),
    "`a*b == 2*d`": reads(lambda m: len(m.table.constraints) == 1, within="  y ~ a*x + b*z + d*v", tail="a*b == 2*d"),
    "`ind == 0.2` with `ind := a*b`": reads(
        lambda m: set(m.table.constraints[0].names) == {"a", "b"}, **AB, tail="ind := a*b\nind == 0.2"
    ),
    "`a > 0.01`": bound("a > 0.01", 0.01, INF),
    "`0.01 < a`": bound("0.01 < a\n a < 2*3", 0.01, 6.0),
    "`a >= 0.01`": bound("a >= 0.01\n1 >= a", 0.01, 1.0),
    "`a + b < 1`": reads(lambda m: m.table.inequalities[0].gap({"a": 0.25, "b": 0.5}) == 0.25, **AB, tail="a + b < 1"),
    "`ind > 0` with `ind := a*b`": reads(
        lambda m: m.table.inequalities[0].gap({"a": 0.5, "b": -2.0}) == -1.0, **AB, tail="ind := a*b\nind > 0"
    ),
    "`0 < a < 1`": refused("a second operator, '<'", **AB, tail="0 < a < 1"),
    "`d := a*b`": check_defined("d := a*b", {"a": 0.5, "b": 3.0}, 1.5),
    "`d := tanh(a) + max(b, 0)`": check_defined("d := tanh(a) + max(b, 0)", {"a": 0.5, "b": -3.0}, np.tanh(0.5)),
    # pnorm(1.96) - 0.5 of R: 0.4750021048517795
    "`d := pnorm(a/b) - 0.5`": check_defined("d := pnorm(a/b) - 0.5", {"a": 3.92, "b": 2.0}, 0.4750021048517795),
    "`d := foo(a)`": refused("unknown function 'foo'", **AB, tail="d := foo(a)"),
    "`d := a; e := d^2`": check_defined("d := a; e := d^2", {"a": 3.0}, 9.0),
    "`x1:x2`": check_product("  y ~ x1 + x2 + x1:x2", "  y ~ w", "x1 times the column x2", "a level-1 variable"),
    "`x1:w` in the within block": check_product("  y ~ x1 + x1:w", "  y ~ w", "without a random slope"),
    "`w1:w2` in the between block": check_product("  y ~ x", "  y ~ w1 + w2 + w1:w2", "a level-2 variable"),
    "`x1:w` in the between block": refused('y ~ rv("s")*x1', "  y ~ x1", "  y ~ w + x1:w"),
    "`x1:f`": refused("'f' is a latent variable", "  f =~ z1 + z2\n  y ~ x1:f"),
    "`x1:x2:x3`": refused("multiplies 3 variables", "  y ~ x1:x2:x3"),
    "`x1:x1`": refused("is a square", "  y ~ x1:x1"),
    "`x1*x2`": reads(lambda m: noted(m, "label 'x1'", "x1:x2"), within="  y ~ x1 + x1*x2"),
    "`log(x)`": refused("must be columns of their own", "  y ~ log(x)"),
    "`x^2`": refused("must be columns of their own", "  y ~ x^2"),
    "`y ~ x - z`": refused("nothing is subtracted", "  y ~ x - z"),
    "`größe ~ успех`": check_names,
    "`x.1_a`": reads(lambda m: "x.1_a" in m.level1, within="  y ~ x.1_a + .z"),
    '`"my x"`': reads(lambda m: "my x" in m.level1, within='  y ~ b*"my x"'),
    "`z ~~ y` of an exogenous z": check_auto("z ~~ y"),
    "`z ~~ z` of an exogenous z": check_auto("z ~~ z"),
    "`z ~ 1` of an exogenous z": check_auto("z ~ 1"),
    "`%WITHIN%` and `BY`, `ON`, `WITH`": refused("this is Mplus input", text="%WITHIN%\n y ON x;\n%BETWEEN%\n y ON w;"),
    "`y ~ x + (1 + x | school)`": refused("a formula of lme4", text="y ~ x + (1 + x | school)"),
}  # fmt: skip


def rows_of_the_table() -> list[str]:
    """First cells of the table of docs/syntax.md."""
    section = DOCS.read_text(encoding="utf-8").split("## The table")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [re.split(r"(?<!\\) \| ", line[2:])[0].replace("\\|", "|") for line in lines]


def test_each_row_of_the_table_is_a_test_and_each_test_a_row() -> None:
    rows = rows_of_the_table()
    assert len(rows) == len(set(rows))
    assert set(rows) == set(CASES)


@pytest.mark.parametrize("construct", CASES)
def test_construct(construct) -> None:
    CASES[construct]()


def test_the_table_names_every_function() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Values and functions")[1].split("\n## ")[0]
    named = " ".join(re.findall(r"`([^`]*)`", section)).split()
    assert set(FUNCTIONS) <= set(named)


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 165, 5000])
def test_deep_nesting_is_a_message(depth) -> None:
    for text in ("(" * depth + "a" + ")" * depth, "2^" * depth + "a", "exp(" * depth + "a" + ")" * depth):
        refused("nest deeper than" if len(text) <= 20_000 else "at most", **AB, tail=f"d := {text}")()


def test_nesting_within_the_limit_works() -> None:
    depth = MAX_DEPTH
    text = "(" * depth + "a" + "+1)" * depth
    assert float(parse_expression(text).evaluate({"a": 0.5})) == depth + 0.5


def test_long_sums_and_many_signs_work() -> None:
    terms = " + ".join(f"{k}*a" for k in range(500))
    found = parse_expression(terms)
    assert float(found.evaluate({"a": 1.0})) == 499 * 500 / 2
    assert float(found.gradient({"a": 1.0})["a"]) == 499 * 500 / 2
    assert float(parse_expression("-" * 501 + "a").evaluate({"a": 2.0})) == -2.0
    many = model(
        "  y ~ " + " + ".join(f"b{k}*x{k}" for k in range(40)), tail="d := " + "+".join(f"b{k}" for k in range(40))
    )
    assert many.estimands.jacobian(np.ones(len(many.names))).sum() == 40.0


def test_a_chain_of_definitions_behind_a_constraint_has_a_limit() -> None:
    chain = ["d0 := a + b"] + [f"d{k} := exp(d{k - 1})" for k in range(1, 400)]
    refused("nest too deeply", **AB, tail="\n".join([*chain, "d399 == 2"]))()
    model(**AB, tail="\n".join(chain[:100]))  # unconstrained it does not matter


# ---------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        ("  y ~ strat(.5)*x", "line 2, column 7: unknown modifier 'strat(.5)'"),
        ("  y ~ lowr(0)*x", "(did you mean 'lower'?)"),
        ("  y ~ sqr(4)*x", "(did you mean 'sqrt'?)"),
        ("  y ~ lower(a)*x", "lower(a) needs one number"),
        ("  y ~ (1/0)*x", "'(1/0)' is no finite number"),
        ("  y ~ x +\n   z + foo(1)*v", "line 3, column 8"),
        ("  y ~ 'x", "line 2, column 7: the quote ' is not closed"),
        ('  y ~ label("my label")*x', "the label 'my label' is not a name"),
        ("  y ~ a*", "no variable stands after '*'"),
        ("  y = x", "did you mean ~ (regression)"),
        ("  y ~ x5-x2", "the range 'x5-x2' runs backwards; write x2-x5"),
        ("  y ~ lower(0)*0.5*x\n  y ~ upper(.3)*x", "fixed at 0.5, outside of its bounds (0 to 0.3)"),
        ('  y ~ equal("y~x")*x', "named as equal to itself"),
        ("  y ~ 2*a*3*x", "two numbers fix the same parameter"),
    ],
)
def test_messages_say_where_and_what(within, expected) -> None:
    refused(expected, within)()


def test_inequalities_that_fixed_values_decide() -> None:
    model("  y ~ 0.5*a*x", tail="a > 0.2")
    refused("contradicts the values", "  y ~ 0.5*a*x", tail="a < 0.2")()
    refused("is no label of this model (did you mean 'bw'?)", "  y ~ bw*x", tail="bww > 0")()
    refused("linear in one of them", **AB, tail="exp(a) + exp(b) < 3")()


@pytest.mark.parametrize("label", ["gamma", "sum", "exp", "c", "start", "NAN", "label"])
def test_labels_may_have_the_names_of_functions(label) -> None:
    found = model(f"  y ~ {label}*x + 2*exp(1)*z", tail=f"d := 2*{label} + exp({label})\n{label} > -9")
    assert row(found, "within: y ~ x").label == label
    assert row(found, "within: y ~ x").lower == -9.0
    assert found.estimands.evaluate(np.zeros(len(found.names)))[0] == 1.0


def test_bounds_of_equal_parameters_are_the_tightest() -> None:
    found = model("  y ~ lower(0)*x + a*x + upper(2)*z + a*z", tail="a > 0.5")
    k = found.names.index("a")
    assert (found.table.lower[k], found.table.upper[k]) == (0.5, 2.0)
