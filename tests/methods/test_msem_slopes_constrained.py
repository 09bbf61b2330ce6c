"""`msem` with random slopes under ``==``, bounds and inequalities, against brute-force constrained maxima.

The brute force: the dense normal density of y given x, w, v in every cluster, maximised by scipy (SLSQP) with the
constraint as a function, and its second derivatives by differences for the standard errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pytest
from scipy import optimize

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import FitResult
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.model.twolevel import TwoLevelModel

TEXT = """
level: 1
  y ~ rv('s')*x
  y ~~ ve*y
level: 2
  y ~ a*w + b*v
  s ~ c*w + m*1
  y ~ i*1
  y ~~ vy*y
  s ~~ vs*s
  y ~~ r*s
"""
LABELS = ("ve", "a", "b", "c", "m", "i", "vy", "vs", "r")
LAYOUT = ClusterLayout.of([3, 4, 5, 6] * 12)


@cache
def sample() -> Sample:
    rng, j = np.random.default_rng(8), LAYOUT.n_clusters
    w, v = rng.normal(size=(2, j))
    x = rng.normal(size=LAYOUT.n_obs)
    u = rng.multivariate_normal([0, 0], [[0.5, 0.15], [0.15, 0.3]], size=j)
    g = np.repeat(np.arange(j), LAYOUT.sizes)
    y = (0.2 + 0.4 * w + 0.3 * v + u[:, 0])[g] + (0.5 + 0.2 * w + u[:, 1])[g] * x + rng.normal(size=LAYOUT.n_obs)
    return Sample(LAYOUT, ("y", "x"), ("w", "v"), np.stack([y, x], axis=-1)[None], np.stack([w, v], axis=-1)[None])


def minus(point: np.ndarray) -> float:
    """Minus the log-likelihood of y given x, w, v."""
    p, data = dict(zip(LABELS, point, strict=True)), sample()
    t = np.array([[p["vy"], p["r"]], [p["r"], p["vs"]]])
    if np.abs(point).max() > 20 or p["ve"] <= 0 or np.linalg.eigvalsh(t)[0] < 0:
        return 1e10
    total = 0.0
    for n in np.unique(LAYOUT.sizes):
        which = np.flatnonzero(np.asarray(LAYOUT.sizes) == n)
        rows = np.asarray(LAYOUT.row_starts)[which][:, None] + np.arange(n)
        y, x = data.rows[0, rows, 0], data.rows[0, rows, 1]
        w, v = data.clusters[0, which].T[:, :, None]
        error = y - (p["i"] + p["a"] * w + p["b"] * v) - (p["m"] + p["c"] * w) * x
        design = np.stack([np.ones_like(x), x], axis=-1)
        cov = design @ t @ design.swapaxes(1, 2) + p["ve"] * np.eye(n)
        log_det = np.linalg.slogdet(cov)[1]
        solved = np.linalg.solve(cov, error[..., None])[..., 0]
        total += 0.5 * (log_det + n * np.log(2 * np.pi) + (error * solved).sum(axis=1)).sum()
    return float(total)


START = np.array([1.0, 0.4, 0.3, 0.2, 0.5, 0.2, 0.5, 0.3, 0.1])


def brute_force(**constraint: object) -> optimize.OptimizeResult:
    """The constrained maximum."""
    options = {"ftol": 1e-15, "maxiter": 500}
    positive = [(1e-9, None) if name in ("ve", "vy", "vs") else (None, None) for name in LABELS]
    bounds = constraint.pop("bounds", {})
    limits = [bounds.get(name, limit) for name, limit in zip(LABELS, positive, strict=True)]  # type: ignore[attr-defined]
    best = optimize.minimize(minus, START, bounds=limits, options=options, method="SLSQP", **constraint)
    return optimize.minimize(minus, best.x, bounds=limits, options=options, method="SLSQP", **constraint)


def fitted(extra: str, se: tuple[str, ...] = ("observed",)) -> tuple[TwoLevelModel, FitResult]:
    model = TwoLevelModel.from_syntax(TEXT + extra + "\n")
    method = SlopeMsem(se, measures=True, fixed_x=True)  # type: ignore[arg-type]
    assert method.supports(model, LAYOUT) is None
    return model, method.prepare(model, LAYOUT).fit(sample())


def at(name: str, point: np.ndarray) -> float:
    return float(point[LABELS.index(name)])


EQUATIONS: dict[str, Callable[[np.ndarray], float]] = {
    "a == 2*b": lambda p: at("a", p) - 2 * at("b", p),
    "c == b^2": lambda p: at("c", p) - at("b", p) ** 2,
    "m + i == .4": lambda p: at("m", p) + at("i", p) - 0.4,
    "vs == vy/3": lambda p: at("vs", p) - at("vy", p) / 3,
    "r == .6*sqrt(vs*vy)": lambda p: at("r", p) - 0.6 * np.sqrt(at("vs", p) * at("vy", p)),
    "ve == 2*vy": lambda p: at("ve", p) - 2 * at("vy", p),
    "r == 0": lambda p: at("r", p),
    "a*m == .3": lambda p: at("a", p) * at("m", p) - 0.3,
}
INEQUALITIES: dict[str, tuple[Callable[[np.ndarray], float], bool]] = {
    "a + b < .5": (lambda p: 0.5 - at("a", p) - at("b", p), True),
    "a > 2*b": (lambda p: at("a", p) - 2 * at("b", p), True),
    "vs > 2*vy": (lambda p: at("vs", p) - 2 * at("vy", p), True),
    "2*vy > vs": (lambda p: 2 * at("vy", p) - at("vs", p), False),
}
BOUNDS: dict[str, tuple[str, tuple[float | None, float | None], bool]] = {
    "b > .6": ("b", (0.6, None), True),
    "m < 0": ("m", (None, 0.0), True),
    "vs > .7": ("vs", (0.7, None), True),
    "vs < .1": ("vs", (1e-9, 0.1), True),
    "r > .3": ("r", (0.3, None), True),
    "ve > 1.5": ("ve", (1.5, None), True),
    "vs > 0": ("vs", (1e-9, None), False),
    "a > 0": ("a", (0.0, None), False),
}


def estimates(model: TwoLevelModel, found: FitResult) -> np.ndarray:
    """In the order of the labels; those that an equation fixes at a number are no parameters."""
    named = dict(zip(model.names, found.estimate[0], strict=True)) | dict(model.table.constants)
    return np.array([named[name] for name in LABELS])


def marked(names: Iterable[str], fast: tuple[str, ...]) -> list[object]:
    """scipy takes a second a maximum: the slow suite has what is alike."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


def agree(model: TwoLevelModel, found: FitResult, best: optimize.OptimizeResult) -> None:
    assert found.converged.all()
    assert found.loglik[0] == pytest.approx(-best.fun, abs=1e-6)
    ours = estimates(model, found)
    np.testing.assert_allclose(ours, best.x, rtol=0, atol=2e-5)  # scipy's differences


@pytest.mark.parametrize("text", marked(EQUATIONS, ("c == b^2", "vs == vy/3")))
def test_equations(text) -> None:
    equation = EQUATIONS[text]
    model, found = fitted(text)
    agree(model, found, brute_force(constraints={"type": "eq", "fun": equation}))
    ours = estimates(model, found)
    assert equation(ours) == pytest.approx(0.0, abs=1e-12)  # it holds to rounding
    assert found.measures["npar"][0] == len(LABELS) - 1


@pytest.mark.parametrize("text", marked(INEQUALITIES, ("2*vy > vs",)))
def test_inequalities(text) -> None:
    """One that the free maximum breaks holds with equality, and the other changes nothing."""
    function, tight = INEQUALITIES[text]
    model, found = fitted(text)
    free = brute_force()
    assert (function(free.x) < 0.0) == tight
    agree(model, found, brute_force(constraints={"type": "eq", "fun": function}) if tight else free)
    assert bool(found.measures["boundary"][0]) == tight
    assert found.measures["npar"][0] == len(LABELS)


@pytest.mark.parametrize("text", marked(BOUNDS, ("vs > .7", "b > .6")))
def test_bounds(text) -> None:
    name, limit, tight = BOUNDS[text]
    model, found = fitted(text)
    agree(model, found, brute_force(bounds={name: limit}))
    place = model.names.index(name)
    assert bool(found.measures["boundary"][0]) == tight
    assert np.isnan(found.se["observed"][0, place]) == tight
    if tight:
        assert found.estimate[0, place] == float(text.split()[-1])  # exactly, and no other SE is missing
        others = [model.names.index(other) for other in LABELS if other != name]
        assert np.isfinite(found.se["observed"][0, others]).all()


def differenced(function: Callable[[np.ndarray], float], point: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Second derivatives by central differences of the fourth order."""
    k = len(point)
    unit = step * np.eye(k)
    weights = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    found = np.zeros((k, k))
    for i in range(k):
        for j in range(i, k):
            found[i, j] = found[j, i] = (
                sum(
                    u * v * function(point + s * unit[i] + t * unit[j])
                    for s, u in weights.items()
                    for t, v in weights.items()
                )
                / step**2
            )
    return found


@pytest.mark.parametrize(
    ("text", "dependent", "rule"),
    [
        ("c == b^2", "c", lambda p: p["b"] ** 2),
        pytest.param("a == 2*b", "a", lambda p: 2 * p["b"], marks=pytest.mark.slow),
        pytest.param("vs == vy/3", "vs", lambda p: p["vy"] / 3, marks=pytest.mark.slow),
        pytest.param("r == .6*sqrt(vs*vy)", "r", lambda p: 0.6 * np.sqrt(p["vs"] * p["vy"]), marks=pytest.mark.slow),
    ],
)
def test_standard_errors_under_equations(text, dependent, rule) -> None:
    """Observed: the inverse Hessian of the others, and the delta method."""
    model, found = fitted(text)
    free = [name for name in LABELS if name != dependent]
    point = np.array([found.estimate[0, model.names.index(name)] for name in free])

    def whole(reduced: np.ndarray) -> np.ndarray:
        named = dict(zip(free, reduced, strict=True))
        return np.array([rule(named) if name == dependent else named[name] for name in LABELS])

    cov = np.linalg.inv(differenced(lambda reduced: minus(whole(reduced)), point))
    turn = np.array([(whole(point + h) - whole(point - h)) / 2e-6 for h in 1e-6 * np.eye(len(free))]).T
    expected = np.sqrt(np.diagonal(turn @ cov @ turn.T))
    ours = np.array([found.se["observed"][0, model.names.index(name)] for name in LABELS])
    np.testing.assert_allclose(ours, expected, rtol=1e-4)  # differences


def test_robust_errors_under_an_equation_are_those_of_the_model_without_the_parameter() -> None:
    """c == 0 is the model with c fixed at 0; so are a > .9 at its bound and a fixed at .9."""
    for text, fixed in (("c == 0", "c"), ("a > .9", "a")):
        kinds = ("observed", "robust")
        tied, one = fitted(text, kinds)
        value = "0" if fixed == "c" else "0.9"
        plain, other = fitted(f"{fixed} == {value}", kinds)
        assert one.loglik[0] == pytest.approx(other.loglik[0], abs=1e-9)
        written = TwoLevelModel.from_syntax(TEXT.replace(f"{fixed}*w", f"{value}*w"))
        third = SlopeMsem(kinds, fixed_x=True).prepare(written, LAYOUT).fit(sample())  # type: ignore[arg-type]
        for kind in kinds:
            for name in written.names:
                if name not in LABELS:
                    continue
                se = third.se[kind][0, written.names.index(name)]
                assert one.se[kind][0, tied.names.index(name)] == pytest.approx(se, rel=1e-5), name  # two searches
                assert other.se[kind][0, plain.names.index(name)] == pytest.approx(se, rel=1e-5), name


LATENT = "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x\n s ~ bw*1\n y ~~ s\n"


@pytest.mark.parametrize("slopes", ["latent", "hybrid"])
def test_no_contextual_effect_is_a_label_on_both_levels(slopes) -> None:
    """bb == bw and the same label: one maximum, with equal observed and robust errors."""
    rng = np.random.default_rng(3)
    layout, j = ClusterLayout.of([5] * 40), 40
    x = np.repeat(0.6 * rng.normal(size=j), 5) + rng.normal(size=200)
    y = 0.5 * x + np.repeat(0.5 * rng.normal(size=j), 5) + np.repeat(0.5 * rng.normal(size=j), 5) * x
    rows = np.stack([y + rng.normal(size=200), x], axis=-1)[None]
    data = Sample(layout, ("y", "x"), (), rows, np.zeros((1, j, 0)))
    kinds = ("observed", "robust")
    found = []
    for text in (LATENT + " bb - bw == 0\n", LATENT.replace("bb", "bw")):
        model = TwoLevelModel.from_syntax(text)
        fit = SlopeMsem(kinds, slopes).prepare(model, layout).fit(data)  # type: ignore[arg-type]
        assert fit.converged.all()
        place = [model.names.index(name) for name in ("bw", "between: s ~~ s", "within: y ~~ y")]
        found.append((fit.loglik[0], fit.estimate[0, place], *(fit.se[kind][0, place] for kind in kinds)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)  # two searches in other coordinates


def test_no_bit_depends_on_the_batch() -> None:
    rng = np.random.default_rng(11)
    one = sample()
    rows = np.repeat(one.rows, 4, axis=0)
    rows[..., 0] += 0.5 * rng.normal(size=rows.shape[:2])
    many = Sample(LAYOUT, one.level1, one.level2, rows, np.repeat(one.clusters, 4, axis=0))
    for text in ("c == b^2", "vs > .4", "a + b < .5"):
        model = TwoLevelModel.from_syntax(TEXT + text + "\n")
        prepared = SlopeMsem(("observed", "robust")).prepare(model, LAYOUT)
        whole = prepared.fit(many)
        assert whole.converged.all()
        for part in ([0], [3, 1]):
            some = prepared.fit(many.select(np.array(part)))
            np.testing.assert_array_equal(some.estimate, whole.estimate[part])
            for kind in ("observed", "robust"):
                np.testing.assert_array_equal(some.covariance[kind], whole.covariance[kind][part])
