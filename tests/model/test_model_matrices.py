"""Parameters -> matrices -> moments: path tracing, the LISREL view, and single-level models made of a two-level one."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from simstudy.model.collapse import SingleLevelModel, between_model, merged_model
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.representation import fill, level_matrices, lisrel_matrices, lisrel_moments
from simstudy.model.twolevel import TwoLevelModel

FAMILIES = tomllib.loads((Path(__file__).parent / "families.toml").read_text())
RECURSIVE = tuple(name for name in FAMILIES if name != "non_recursive")
# Products of a few numbers of order 1: rounding.
EXACT = 1e-13


@cache
def family(name: str) -> tuple[TwoLevelModel, np.ndarray]:
    model = TwoLevelModel.from_syntax(FAMILIES[name]["syntax"])
    return model, np.array([FAMILIES[name]["values"][key] for key in model.names])


def traced(
    model: TwoLevelModel, level: str, values: np.ndarray
) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """Means and covariances of a level's observed variables by tracing paths (Wright 1934), row by row of the table."""
    rows = model.table.at(level)

    def number(row) -> float:
        return float(values[row.free]) if row.free >= 0 else row.value

    causes: dict[str, list[tuple[str, float]]] = {}
    residual: dict[tuple[str, str], float] = {}
    intercept: dict[str, float] = {}
    for row in rows:
        if row.op == "~":
            causes.setdefault(row.lhs, []).append((row.rhs, number(row)))
        elif row.op == "=~":
            causes.setdefault(row.rhs, []).append((row.lhs, number(row)))
        elif row.op == "~~":
            residual[row.lhs, row.rhs] = residual[row.rhs, row.lhs] = number(row)
        else:
            intercept[row.lhs] = number(row)

    @cache
    def loads(name: str) -> tuple[tuple[str, float], ...]:
        """The variable as a combination of residuals: every chain of paths that ends in it."""
        total = {name: 1.0}
        for cause, weight in causes.get(name, []):
            for source, share in loads(cause):
                total[source] = total.get(source, 0.0) + weight * share
        return tuple(total.items())

    observed = model.observed(level)
    means = {name: sum(share * intercept.get(source, 0.0) for source, share in loads(name)) for name in observed}
    covariances = {
        (a, b): sum(u * v * residual.get((i, j), 0.0) for i, u in loads(a) for j, v in loads(b))
        for a in observed
        for b in observed
    }
    return means, covariances


@pytest.mark.parametrize("name", RECURSIVE)
def test_implied_moments_are_sums_over_chains_of_paths(name) -> None:
    model, values = family(name)
    mu, within, between = TwoLevelStructure(model).moments(values)
    place = {variable: i for i, variable in enumerate(model.variables)}
    expected_mu = np.zeros(len(place))
    expected = {"within": np.zeros_like(within), "between": np.zeros_like(between)}
    for level, matrix in expected.items():
        means, covariances = traced(model, level, values)
        for variable, mean in means.items():
            expected_mu[place[variable]] += mean
        for (a, b), value in covariances.items():
            matrix[place[a], place[b]] = value
    np.testing.assert_allclose(mu, expected_mu, atol=EXACT)
    np.testing.assert_allclose(within, expected["within"], atol=EXACT)
    np.testing.assert_allclose(between, expected["between"], atol=EXACT)  # zero rows of within-only variables too


def test_cycles_are_solved_as_simultaneous_equations() -> None:
    """y1 = f y2 + x1 + e1, y2 = g y1 + x2 + e2: substituted by hand."""
    model, values = family("non_recursive")
    v = dict(zip(model.names, values, strict=True))
    _, within, _ = TwoLevelStructure(model).moments(values)
    f, g, c1, c2 = v["f"], v["g"], v["within: y1 ~ x1"], v["within: y2 ~ x2"]
    # y1 (1 - f g) = c1 x1 + e1 + f (c2 x2 + e2), and y2 likewise
    y1 = {"x1": c1, "e1": 1.0, "x2": f * c2, "e2": f}
    y2 = {"x2": c2, "e2": 1.0, "x1": g * c1, "e1": g}
    cov = {("x1", "x1"): v["within: x1 ~~ x1"], ("x2", "x2"): v["within: x2 ~~ x2"],
           ("x1", "x2"): v["within: x1 ~~ x2"], ("x2", "x1"): v["within: x1 ~~ x2"],
           ("e1", "e1"): v["within: y1 ~~ y1"], ("e2", "e2"): v["within: y2 ~~ y2"]}  # fmt: skip

    def product(a: dict[str, float], b: dict[str, float]) -> float:
        return sum(u * w * cov.get((i, j), 0.0) for i, u in a.items() for j, w in b.items())

    at = [model.variables.index(name) for name in ("y1", "y2", "x1")]
    expected = np.array([[product(a, b) for b in (y1, y2)] for a in (y1, y2)]) / (1 - f * g) ** 2
    np.testing.assert_allclose(within[np.ix_(at[:2], at[:2])], expected, atol=EXACT)
    assert within[at[0], at[2]] == pytest.approx(product(y1, {"x1": 1.0}) / (1 - f * g), abs=EXACT)


@pytest.mark.parametrize("level", ["within", "between"])
@pytest.mark.parametrize("name", FAMILIES)
def test_lisrel_matrices_imply_the_engines_moments(name, level) -> None:
    model, values = family(name)
    matrices = lisrel_matrices(model, level, values)
    mean, cov = lisrel_moments(matrices)
    structure = getattr(TwoLevelStructure(model), level)
    implied = structure.implied(values)
    order = [(matrices.y + matrices.x).index(v) for v in structure.maps.variables[: structure.n_observed]]
    np.testing.assert_allclose(mean[order], implied.mu, atol=EXACT)
    np.testing.assert_allclose(cov[np.ix_(order, order)], implied.sigma, atol=EXACT)
    # every number stands in one matrix only
    assert matrices.lam.shape == (len(matrices.y), len(matrices.eta))
    assert set(matrices.x) | set(matrices.y) == set(model.observed(level))


def test_lisrel_view_of_a_factor_model_reads_like_the_book() -> None:
    model, values = family("factors")
    v = dict(zip(model.names, values, strict=True))
    matrices = lisrel_matrices(model, "between", values)
    assert matrices.eta[0] == "fb"
    assert set(matrices.x) == {"x", "z"}
    lam = dict(zip(matrices.y, matrices.lam[:, 0], strict=True))
    assert [lam[name] for name in ("y1", "y2", "y3")] == [1.0, v["k2"], v["k3"]]
    gamma = dict(zip(matrices.x, matrices.gamma[0], strict=True))
    assert (gamma["x"], gamma["z"]) == (v["ab"], v["between: fb ~ z"])
    theta = dict(zip(matrices.y, np.diag(matrices.theta), strict=True))
    assert theta["y2"] == v["between: y2 ~~ y2"]
    assert matrices.psi[0, 0] == v["between: fb ~~ fb"]
    assert matrices.nu[matrices.y.index("y2")] == v["between: y2 ~ 1"]
    assert matrices.beta[matrices.eta.index("o"), 0] == v["bb"]
    assert matrices.sigma_x[matrices.x.index("x"), matrices.x.index("z")] == v["between: x ~~ z"]


def test_any_leading_shape() -> None:
    model, values = family("factors")
    structure = TwoLevelStructure(model)
    batch = values * (1.0 + 0.1 * np.random.default_rng(1).uniform(-1, 1, size=(2, 3, len(values))))
    moments = structure.moments(batch)
    assert [m.shape[:2] for m in moments] == [(2, 3)] * 3
    for i, j in np.ndindex(2, 3):
        for whole, single in zip(moments, structure.moments(batch[i, j]), strict=True):
            np.testing.assert_allclose(whole[i, j], single, rtol=1e-14, atol=1e-15)  # the same products


def test_filling_puts_every_free_value_somewhere() -> None:
    for name in FAMILIES:
        model, _ = family(name)
        numbers = np.arange(1.0, 1.0 + len(model.names)) * np.pi
        seen: set[float] = set()
        for level in ("within", "between"):
            filled = fill(level_matrices(model, level), numbers)
            np.testing.assert_array_equal(filled.covariances, filled.covariances.T)
            for part in (filled.paths, filled.covariances, filled.means):
                seen |= set(part.ravel())
        assert set(numbers) <= seen


# -------------------------------------------------------------------------------------------- single-level counterparts


def free_of(model: TwoLevelModel, *names: str) -> list[int]:
    return [model.names.index(name) for name in names]


def test_merged_model_has_one_path_for_both_levels() -> None:
    model, values = family("mediation_111")
    single = merged_model(model)
    assert isinstance(single, SingleLevelModel)
    assert single.variables == model.variables
    for pair in (
        ("aw", "ab"),
        ("bw", "bb"),
        ("within: m ~~ m", "between: m ~~ m"),
        ("within: x ~~ x", "between: x ~~ x"),
    ):
        first, second = single.index[free_of(model, *pair)]
        assert first == second >= 0
    assert single.n_free == 9  # 3 paths, 3 variances, 3 means
    params = np.zeros(single.n_free)
    params[single.index] = values  # the between values, written last
    implied = single.level.implied(params)
    _, covariances = traced(model, "between", values)
    order = single.variables
    np.testing.assert_allclose(implied.sigma, [[covariances[a, b] for b in order] for a in order], atol=EXACT)


def test_merged_model_is_the_union_of_paths() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ x + w\n x ~~ w\nlevel: 2\n y ~ z\n x ~ z\n y ~~ x")
    single = merged_model(model)
    assert isinstance(single, SingleLevelModel)
    assert set(single.variables) == {"y", "x", "w", "z"}
    # y ~~ x of the between level gives way to the path y ~ x of the within level, and is not spoken about
    assert single.index[model.names.index("between: y ~~ x")] == -1
    assert (np.delete(single.index, model.names.index("between: y ~~ x")) >= 0).all()


def test_merged_model_ties_what_labels_tie_across_levels() -> None:
    model = TwoLevelModel.from_syntax("level: 1\n y ~ a*x\n m ~ a*x\nlevel: 2\n y ~ b*x\n m ~ c*x")
    single = merged_model(model)
    assert isinstance(single, SingleLevelModel)
    assert len(set(single.index[free_of(model, "a", "b", "c")])) == 1  # b = a (y ~ x), c = a (m ~ x)


def test_merged_model_keeps_fixed_values_and_refuses_contradictions() -> None:
    fixed = merged_model(TwoLevelModel.from_syntax("level: 1\n y ~ 0.5*x\nlevel: 2\n y ~ 0.5*x"))
    assert isinstance(fixed, SingleLevelModel)
    implied = fixed.level.implied(np.ones(fixed.n_free))
    at = [fixed.variables.index(name) for name in ("y", "x")]
    assert implied.sigma[at[0], at[1]] == 0.5
    reason = merged_model(TwoLevelModel.from_syntax("level: 1\n y ~ 0.5*x\nlevel: 2\n y ~ 0.3*x"))
    assert reason == "'y ~ x' is fixed at different values at the two levels"
    reason = merged_model(TwoLevelModel.from_syntax("level: 1\n f =~ a + b + c\nlevel: 2\n g =~ a + b + c"))
    assert "latent variables differ between the levels" in reason


@pytest.mark.parametrize("name", FAMILIES)
def test_between_model_is_the_between_block(name) -> None:
    model, values = family(name)
    single = between_model(model)
    assert set(single.variables) == set(model.observed("between"))
    spoken = [n for n, i in zip(model.names, single.index, strict=True) if i >= 0]
    assert spoken == [n for n, level in zip(model.names, model.table.levels, strict=True) if level != "within"]
    params = np.array([values[list(single.index).index(i)] for i in range(single.n_free)])
    implied = single.level.implied(params)
    block = TwoLevelStructure(model).between
    at = [block.maps.variables.index(v) for v in single.variables]
    own = block.implied(values)
    np.testing.assert_allclose(implied.sigma, own.sigma[np.ix_(at, at)], atol=EXACT)
    np.testing.assert_allclose(implied.mu, own.mu[at], atol=EXACT)
