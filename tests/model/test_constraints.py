"""``==`` constraints: how they are solved, the messages of those that cannot be, and fits under them.

Fits are held against fits that need no constraint (equal labels, fixed values, rescaled data) and, for constraints that
have no such form, against Lagrange's conditions and the constrained covariance of Aitchison & Silvey (1958), which are
built from the unconstrained model's likelihood alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.fit import fit
from simstudy.analysis.nested import likelihood_ratio_test, wald_test
from simstudy.analysis.result import FitRecord
from simstudy.errors import ModelError
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.model.constraints import ConstraintSet
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

BASE = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
"""
FIRST = 8  # line of the first constraint written below BASE

# Fits stop within 1e-6 SE, and SEs are about .1: 2e-8 measured.
FITTED = 1e-7
# Dependent parameters are computed from the others: rounding.
EXACT = 1e-14
# SEs come from the information one step before the end (expected), or from sums of products: 1e-7 at most.
SE = 1e-6


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Mediation at both levels, 60 unequal clusters."""
    rng = np.random.default_rng(20)
    g = np.repeat(np.arange(60), rng.integers(2, 10, size=60))
    u = rng.normal(size=(60, 3))
    x = 0.7 * u[g, 0] + rng.normal(size=len(g))
    m = 0.4 * x + 0.3 * u[g, 0] + 0.5 * u[g, 1] + rng.normal(size=len(g))
    y = 0.3 * m + 0.2 * x + 0.3 * u[g, 1] + 0.5 * u[g, 2] + rng.normal(size=len(g))
    return pd.DataFrame({"g": g, "x": x, "m": m, "y": y})


def model(constraints: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax(BASE + constraints)


def fitted(constraints: str, data: pd.DataFrame, se: str = "expected", base: str = BASE, **options) -> FitRecord:
    found = fit(base + constraints, data, cluster="g", se=se, **options)
    assert found.converged
    return found


def value(found: FitRecord, name: str) -> float:
    return float(found.params[found.model.names.index(name)])


def se_of(found: FitRecord, name: str) -> float:
    k = found.model.names.index(name)
    return float(np.sqrt(found.covariance[k, k]))


# ---------------------------------------------------------------------- solving


@pytest.mark.parametrize(
    ("text", "dependent"),
    [
        ("aw == 2*ab", "aw"),  # the label alone on a side
        ("2*ab == aw", "aw"),
        ("aw + ab == 1", "aw"),
        ("aw*bw == ab*bb", "aw"),
        ("aw == exp(ab)", "aw"),
        ("exp(aw) == 2*ab", "ab"),  # not affine in aw
        ("aw^2 + bw == cw*ab", "bw"),
        ("0 == aw - ab", "aw"),
        ("log(aw)*bw == 1", "bw"),
    ],
)
def test_constraints_are_solved_for_a_label_they_are_affine_in(text, dependent) -> None:
    table = model(text).table
    assert [c.dependent for c in table.constraints] == [dependent]
    assert set(table.names) == set(model("").names)  # all stay parameters
    constraints = ConstraintSet(table.names, table.constants, table.constraints)
    rng = np.random.default_rng(3)
    params = rng.uniform(0.5, 1.5, size=(4, 5, len(table.names)))
    filled = constraints.fill(params)
    env = {name: filled[..., k] for k, name in enumerate(table.names)}
    np.testing.assert_allclose(table.constraints[0].gap(env), np.zeros((4, 5)), atol=1e-14)  # rounding
    others = [k for k, name in enumerate(table.names) if name != dependent]
    np.testing.assert_array_equal(filled[..., others], params[..., others])


@pytest.mark.parametrize(
    "text",
    [
        "aw == 2*ab",
        "aw*bw == ab*bb",
        "aw == exp(ab)\ncw == aw*cb",
        "aw == 2*ab\nbw == 3*aw\ncb == aw + bw",
        "aw*bw == ab*bb\naw + ab == 1",
        "aw - cw == 2*ab\naw + ab == 1\nbb + 2*cw == aw*bw",
    ],
)
def test_derivatives_of_dependent_parameters(text) -> None:
    """The implicit function theorem against central differences of ``fill``."""
    table = model(text).table
    constraints = ConstraintSet(table.names, table.constants, table.constraints)
    free = np.setdiff1d(np.arange(len(table.names)), constraints.dependent)
    params = constraints.fill(np.random.default_rng(5).uniform(0.5, 1.5, size=(3, len(table.names))))
    step = 1e-5
    numeric = []
    for k in free:
        move = np.zeros(len(table.names))
        move[k] = step
        numeric.append((constraints.fill(params + move) - constraints.fill(params - move)) / (2 * step))
    # differences of second order: 1e-10 of the third derivative, rounding 1e-16 / 1e-5
    np.testing.assert_allclose(constraints.jacobian(params, free), np.stack(numeric, axis=-1), rtol=0, atol=1e-8)


def test_chains_are_filled_in_order() -> None:
    table = model("aw == 2*ab\nbw == aw + cw\ncb == aw*bw").table
    assert [c.dependent for c in table.constraints] == ["aw", "bw", "cb"]
    constraints = ConstraintSet(table.names, table.constants, table.constraints)
    params = np.full(len(table.names), 0.5)
    found = dict(zip(table.names, constraints.fill(params).tolist(), strict=True))
    assert (found["aw"], found["bw"], found["cb"]) == (1.0, 1.5, 1.5)
    # written the other way round, what was used before stays free
    turned = model("bw == 3*aw\naw == 2*ab").table
    assert [c.dependent for c in turned.constraints] == ["bw", "ab"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("aw*aw == 4", FIRST, "'aw*aw == 4' cannot be solved for one of its parameters"),
        ("exp(aw) == exp(ab)", FIRST, "must be linear in one of them"),
        ("aw + ab == 1\n\naw + ab == 1", FIRST + 2, "cannot be solved"),
        ("aw == 2*ab\nab == 2*bw\nbw == 2*aw", FIRST + 2, "constrains no parameter that is still free"),
        ("1 == 1", FIRST, "constrains no parameter that is still free"),
        ("aw == zz", FIRST, "'zz' in 'aw == zz' is no label of this model"),
        ("aw == bww + 1", FIRST, "did you mean 'bw'?"),
        ("aw ==", FIRST, "nothing stands after '=='"),
        ("aw == 2*(ab", FIRST, "2*(ab"),
    ],
)
def test_messages_of_constraints_that_cannot_be_imposed(text, line, message) -> None:
    with pytest.raises(ModelError) as caught:
        model(text)
    assert f"model line {line}" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["ind := ab*bb", "ab == bb", "ab == 0.3", "ab == 2*cb"])
def test_a_label_set_equal_to_another_can_still_be_named(text) -> None:
    model(f"aw == ab\n{text}")


def test_linear_constraints_that_share_their_labels() -> None:
    table = model("aw + ab == 0.7\naw - ab == 0.1").table
    constraints = ConstraintSet(table.names, table.constants, table.constraints)
    found = dict(zip(table.names, constraints.fill(np.zeros(len(table.names))).tolist(), strict=True))
    assert (found["aw"], found["ab"]) == pytest.approx((0.4, 0.3), rel=1e-12)  # rounding


def test_two_values_of_one_label_are_a_contradiction() -> None:
    with pytest.raises(ModelError):
        model("aw == 0.3\naw == 0.4")


# ---------------------------------------------------------------------- fits that need no constraint


def same_fit(found: FitRecord, expected: FitRecord, names: dict[str, str] | None = None) -> None:
    """Equal log-likelihood, fit measures, and estimates and SEs by name."""
    for name in ("loglik", "npar", "df", "chisq", "aic", "bic", "cfi", "rmsea", "srmr_between", "scaling"):
        a, b = found.measures[name], expected.measures[name]
        assert a == pytest.approx(b, rel=1e-7, abs=1e-7, nan_ok=True), name  # both stop within 1e-12 of the maximum
    for mine, theirs in (names or {name: name for name in expected.model.names}).items():
        assert value(found, mine) == pytest.approx(value(expected, theirs), abs=FITTED)
        assert se_of(found, mine) == pytest.approx(se_of(expected, theirs), rel=SE)


@pytest.mark.parametrize("se", ["expected", "observed", "robust"])
def test_equality_written_as_a_difference_is_an_equal_label(data, se) -> None:
    constrained = fitted("aw - ab == 0\ncw == cb + 0\nind := aw*bw", data, se)
    assert len(constrained.model.table.constraints) == 2
    labels = BASE.replace("ab*x", "aw*x").replace("cb*x", "cw*x")
    equal = fitted("ind := aw*bw", data, se, labels)
    same_fit(constrained, equal)
    assert value(constrained, "ab") == value(constrained, "aw")
    assert se_of(constrained, "ab") == pytest.approx(se_of(constrained, "aw"), rel=1e-12)  # the same row twice
    mine, theirs = (f.parameters.set_index("lhs").loc["ind"] for f in (constrained, equal))
    assert mine["est"] == pytest.approx(theirs["est"], abs=FITTED)
    assert mine["se"] == pytest.approx(theirs["se"], rel=SE)
    same_fit(fitted("aw == ab\ncw == cb", data, se), equal)


@pytest.mark.parametrize("se", ["expected", "observed", "robust"])
def test_a_multiple_is_an_equal_label_of_rescaled_data(data, se) -> None:
    """bw = 2 aw: in units of y / 2, y's slope on m is bw / 2."""
    constrained = fitted("bw == 2*aw", data, se)
    halved = fitted("", data.assign(y=data["y"] / 2), se, BASE.replace("bw*m", "aw*m"))
    assert value(constrained, "bw") == pytest.approx(2 * value(constrained, "aw"), rel=EXACT)
    n = len(data)
    assert constrained.measures["loglik"] == pytest.approx(halved.measures["loglik"] - n * np.log(2), rel=1e-12)
    assert constrained.measures["df"] == halved.measures["df"] == 1
    # chi-square does not depend on units: a difference of log-likelihoods, rounding 1e-12 of 1e3
    assert constrained.measures["chisq"] == pytest.approx(halved.measures["chisq"], abs=1e-7)
    for name, factor in (("aw", 1), ("cw", 2), ("cb", 2), ("bb", 2), ("within: y ~~ y", 4), ("between: y ~ 1", 2)):
        assert value(constrained, name) == pytest.approx(factor * value(halved, name), abs=FITTED)
        assert se_of(constrained, name) == pytest.approx(factor * se_of(halved, name), rel=SE)
    assert se_of(constrained, "bw") == pytest.approx(2 * se_of(constrained, "aw"), rel=1e-12)


def test_a_value_reached_by_a_constraint_is_a_fixed_value(data) -> None:
    """Two equations that leave one point."""
    constrained = fitted("2*ab == 0.6\naw + ab == 0.7", data)
    fixed = fitted("", data, "expected", BASE.replace("aw*x", "0.4*x").replace("ab*x", "0.3*x"))
    assert value(constrained, "aw") == pytest.approx(0.4, rel=EXACT)
    assert value(constrained, "ab") == pytest.approx(0.3, rel=EXACT)
    names = {name: name for name in fixed.model.names}
    same_fit(constrained, fixed, names)
    rows = constrained.parameters.set_index("label")
    assert np.isnan(rows.loc["aw", "se"])
    assert np.isnan(rows.loc["ab", "se"])


# ---------------------------------------------------------------------- constraints without another form

NONLINEAR = {
    "aw*bw == ab*bb": lambda p: [p["aw"] * p["bw"] - p["ab"] * p["bb"]],
    "aw + ab == 1": lambda p: [p["aw"] + p["ab"] - 1],
    "cw == exp(cb) - 0.9": lambda p: [p["cw"] - np.exp(p["cb"]) + 0.9],
    "bw == aw^2 + cb\ncw == bw*aw": lambda p: [p["bw"] - p["aw"] ** 2 - p["cb"], p["cw"] - p["bw"] * p["aw"]],
    # the second is solved given the first, which uses its label
    "aw*bw == ab*bb\naw + ab == 1": lambda p: [p["aw"] * p["bw"] - p["ab"] * p["bb"], p["aw"] + p["ab"] - 1],
    "aw - cw == 2*ab\naw + ab == 1\nbb + 2*cw == aw*bw": lambda p: [
        p["aw"] - p["cw"] - 2 * p["ab"],
        p["aw"] + p["ab"] - 1,
        p["bb"] + 2 * p["cw"] - p["aw"] * p["bw"],
    ],
}


class Unconstrained:
    """The likelihood without constraints, in the order of ``names``."""

    def __init__(self, found: FitRecord) -> None:
        self.model = TwoLevelModel.from_syntax(BASE)
        sample = found.context.sample.arrange(self.model.level1, self.model.level2)
        self.statistics, layout = sample.statistics(), sample.layout
        self.group = layout.group
        self.likelihood = TwoLevelLikelihood(TwoLevelStructure(self.model), layout.distinct, layout.counts)
        assert self.model.names == found.model.names
        self.params = found.params[None]
        at = self.likelihood.evaluate(self.params, Data.of(self.statistics))
        self.loglik, self.score, self.expected = float(at.loglik[0]), at.score[0], at.information[0]
        self.observed = self.likelihood.observed_information(self.params, Data.of(self.statistics))[0]
        scores = self.likelihood.cluster_scores(
            self.params, self.statistics.cluster_means, self.statistics.cluster_scatter, self.group
        )[0]
        self.meat = scores.T @ scores


def gaps_and_slopes(text: str, names: tuple[str, ...], params: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hand-written gaps (k,), their gradients (k, q) and Hessians (k, q, q) by central differences."""

    def gaps(at: np.ndarray) -> np.ndarray:
        return np.array(NONLINEAR[text](dict(zip(names, at.tolist(), strict=True))))

    q, h = len(names), 1e-4
    moves = h * np.eye(q)
    slopes = np.stack([(gaps(params + m) - gaps(params - m)) / (2 * h) for m in moves], axis=-1)
    bends = np.stack(
        [
            np.stack(
                [
                    sum(s * t * gaps(params + s * a + t * b) for s in (1, -1) for t in (1, -1)) / (4 * h * h)
                    for b in moves
                ],
                axis=-1,
            )
            for a in moves
        ],
        axis=-2,
    )
    return gaps(params), slopes, bends


@pytest.mark.parametrize("text", NONLINEAR)
def test_constrained_fits_satisfy_lagranges_conditions(data, text) -> None:
    """Score = G' lambda, and SEs of every kind follow from the null space of G and the Lagrangian's Hessian."""
    fits = {se: fitted(text, data, se) for se in ("expected", "observed", "robust")}
    found = fits["expected"]
    free = Unconstrained(found)
    gaps, slopes, bends = gaps_and_slopes(text, found.model.names, found.params)
    np.testing.assert_allclose(gaps, 0.0, atol=1e-14)  # exactly, but for rounding
    assert found.measures["loglik"] == pytest.approx(free.loglik, rel=1e-13)
    assert found.measures["df"] == len(gaps)
    assert found.measures["npar"] == len(free.score) - len(gaps)
    multiplier, *_ = np.linalg.lstsq(slopes.T, free.score, rcond=None)
    remainder = free.score - slopes.T @ multiplier
    # scores below 1e-6 of their standard deviation; slopes of exp by differences 1e-8
    assert np.abs(remainder / np.sqrt(np.diag(free.expected))).max() < 1e-5
    assert np.abs(multiplier).max() > 0.1  # the constraint binds
    _, _, rotation = np.linalg.svd(slopes)
    null = rotation[len(gaps) :].T  # directions along the constraint
    lagrangian = free.observed + np.tensordot(multiplier, bends, 1)
    expected = null @ np.linalg.inv(null.T @ free.expected @ null) @ null.T
    bread = null @ np.linalg.inv(null.T @ lagrangian @ null) @ null.T
    for kind, covariance in (("expected", expected), ("observed", bread), ("robust", bread @ free.meat @ bread)):
        np.testing.assert_allclose(
            np.sqrt(np.diag(fits[kind].covariance)), np.sqrt(np.diag(covariance)), rtol=1e-5, err_msg=kind
        )  # differences of the constraints' curvature: 1e-8 / 1e-8 * 1e-12, times the multiplier
    # Aitchison & Silvey: I^-1 less its part along the constraints
    inverse = np.linalg.inv(free.expected)
    turned = inverse @ slopes.T
    by_formula = inverse - turned @ np.linalg.solve(slopes @ turned, turned.T)
    np.testing.assert_allclose(fits["expected"].covariance, by_formula, rtol=0, atol=1e-7)  # as SE above


@pytest.mark.parametrize("text", NONLINEAR)
def test_chi_squares_of_constraints_add_up(data, text) -> None:
    free, found = fitted("", data, "robust"), fitted(text, data, "robust")
    test = likelihood_ratio_test(found, free)
    assert test.df == found.measures["df"]
    # the free model is saturated, so that the test of the constraint is the model's own
    # where the estimate of a small sample has a negative scaling factor, neither has a number
    assert test.statistic == pytest.approx(found.measures["chisq_scaled"], rel=1e-6, nan_ok=True)
    assert np.isnan(test.statistic) == (test.scaling <= 0)
    assert test.scaling == pytest.approx(found.measures["scaling"], rel=1e-6)  # information one step before the end
    assert found.measures["chisq"] > 0.1


def test_wald_and_likelihood_ratio_agree_for_constraints_that_nearly_hold(data) -> None:
    """Asymptotically equal; here both are small."""
    free = fitted("", data, "observed")
    text = f"bw - cw == {value(free, 'bw') - value(free, 'cw') + 0.02:.6f}"
    test = wald_test(free, text)
    ratio = likelihood_ratio_test(fitted(text, data, "observed"), free)
    assert test.statistic == pytest.approx(ratio.statistic, rel=0.05)  # difference of third order
    assert 0.01 < test.statistic < 1.0


# ---------------------------------------------------------------------- with other options


def test_constraints_go_with_fixed_x_bounds_and_missing_values(data) -> None:
    text = "aw*bw == ab*bb"
    fixed = fitted(text, data, fixed_x=True)
    assert se_of(fixed, "within: x ~~ x") == 0.0
    bounded = fitted(text, data, bounds="variances")
    np.testing.assert_allclose(bounded.params, fitted(text, data).params, rtol=0, atol=FITTED)
    rng = np.random.default_rng(2)
    gaps = data.copy()
    for name in ("m", "y"):
        gaps.loc[rng.uniform(size=len(data)) < 0.2, name] = np.nan
    full = fitted(text, gaps, "observed", missing="fiml")
    for found in (fixed, bounded, full):
        gap = value(found, "aw") * value(found, "bw") - value(found, "ab") * value(found, "bb")
        assert abs(gap) < 1e-14  # rounding
        assert found.measures["df"] == 1


def test_defined_parameters_that_a_constraint_fixes_have_no_standard_error(data) -> None:
    found = fitted("aw*bw == ab*bb\ndifference := aw*bw - ab*bb\nind := aw*bw", data)
    rows = found.parameters.set_index("lhs")
    assert abs(rows.loc["difference", "est"]) < 1e-14  # rounding
    assert not rows.loc["difference", "se"] > 1e-9  # 0, or none
    assert rows.loc["ind", "se"] > 0.01


def test_other_methods_decline(data) -> None:
    found = fit(BASE + "aw + ab == 1", data, cluster="g", estimator="disaggregated")
    assert not found.converged
    assert any("constraints" in note for note in found.notes)
