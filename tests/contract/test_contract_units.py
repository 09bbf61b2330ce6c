"""Every method gives the same answer in other units: data times 1e-8 .. 1e8, and shifted by 1e8 standard deviations.

What is expected comes from the same method on moderate data. A change of scale multiplies a path of j on i by
s_i / s_j, a covariance by s_i s_j and an intercept by s_i. Under a shift by c, estimates are polynomials in c of degree
0 (paths, variances), 1 (intercepts) or 2 (the intercept variance where the slope of a predictor as observed varies):
fits at three moderate shifts tell them.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis import rescaled
from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.errors import ConvergenceWarning
from simstudy.methods import registry

MODELS = {
    "contextual": "level: within\n y ~ x\nlevel: between\n y ~ x",
    "mediation": "level: within\n y ~ m\nlevel: between\n m ~ w\n y ~ m + w",
    "x within only": "level: within\n m ~ x\n y ~ m + x\nlevel: between\n y ~ m + w\n m ~ w",
    "slope": 'level: within\n y ~ rv("s")*x\nlevel: between\n y + s ~ w',
    "slope, latent means": 'level: within\n y ~ rv("s")*x\nlevel: between\n y ~ x\n y ~~ s',
    "factors": "level: within\n f =~ y1 + y2 + y3\n f ~ x\nlevel: between\n f =~ y1 + y2 + y3\n f ~ x",
}
ITEMS_ALIKE = {"raudenbush_measurement"}
"""Methods that average items: their model is closed only under one change for all of a factor's items."""
# Values shifted by 1e8 SDs are rounded at 1e-8 SDs; an estimate of 240 rows moves by about that many SEs.
ROUNDED = 1e-6
# Two optimisers' stops, and information matrices of data with means of 20 SDs (condition 1e5).
STOP = 1e-5


def data() -> pd.DataFrame:
    """40 clusters of 3, 5, 7 and 9 rows."""
    rng = np.random.default_rng(8)
    sizes = np.tile([3, 5, 7, 9], 10)
    g = np.repeat(np.arange(40), sizes)
    u, e, w = rng.normal(size=(40, 8)), rng.normal(size=(len(g), 8)), rng.normal(size=40)
    x = 0.7 * u[g, 0] + e[:, 0]
    m = 0.4 * e[:, 0] + 0.5 * u[g, 0] + 0.5 * u[g, 1] + e[:, 1]
    slope = 0.3 + 0.4 * rng.normal(size=40)
    y = slope[g] * e[:, 0] + 0.3 * m + 0.6 * u[g, 0] + 0.3 * w[g] + 0.6 * u[g, 2] + e[:, 2]
    within, between = 0.4 * e[:, 0] + e[:, 3], 0.5 * u[:, 0] + 0.6 * u[:, 3]
    items = {
        f"y{k}": (0.7 + 0.2 * k) * within + (0.9 + 0.1 * k) * between[g] + 0.3 * u[g, 3 + k] + 0.7 * e[:, 3 + k]
        for k in (1, 2, 3)
    }
    return pd.DataFrame({"g": g, "x": x, "m": m, "y": y, "w": w[g], **items})


def fitted(text: str, frame: pd.DataFrame, method: str) -> FitRecord:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(text, frame, cluster="g", estimator=method)


def changed(frame: pd.DataFrame, scale: dict[str, float], shift: float) -> pd.DataFrame:
    """Columns times their scale, and shifted by so many of their units, in turn up and down."""
    signs = {name: (-1.0) ** k for k, name in enumerate(scale)}
    return frame.assign(**{name: a * (frame[name] + shift * signs[name]) for name, a in scale.items()})


def factors(found: FitRecord, scale: dict[str, float]) -> np.ndarray:
    """What a change of scale multiplies every row of the parameter table by."""
    slopes = {s.name: scale[s.outcome] / scale[s.predictor] for s in found.model.slopes}
    markers = {row.lhs: scale[row.rhs] for row in found.model.table.rows if row.op == "=~" and row.free < 0}
    of = {"": 1.0, **scale, **slopes, **markers}
    power = {"~": (1, -1), "=~": (-1, 1), "~~": (1, 1), "~1": (1, 0)}
    return np.array([of[r.lhs] ** power[r.op][0] * of[r.rhs] ** power[r.op][1] for r in found.parameters.itertuples()])


def numbers(found: FitRecord) -> tuple[np.ndarray, np.ndarray]:
    return found.parameters["est"].to_numpy(float), found.parameters["se"].to_numpy(float)


def compare(est: np.ndarray, se: np.ndarray, found: FitRecord, same: np.ndarray, limit: float, what: str) -> None:
    """Estimates within ``limit`` SEs (of their value, where there is none), SEs too where they must be the ``same``."""
    own, error = numbers(found)
    np.testing.assert_array_equal(np.isnan(own), np.isnan(est), what)
    size = np.where(error > 0.0, error, np.maximum(np.abs(est), 1e-300))
    assert np.nanmax(np.abs(own - est) / size) < limit, what
    np.testing.assert_array_equal(np.isnan(error), np.isnan(se), what)
    assert np.nanmax(np.abs(error - se)[same] / size[same], initial=0.0) < limit, what


def check_extremes(method: str, name: str) -> bool:
    """Whether the method fits the model, having checked that units do not matter."""
    text, frame = MODELS[name], data()
    plain = fitted(text, frame, method)
    if not plain.converged:
        return False
    ones = dict.fromkeys(plain.model.variables, 1.0)
    steps = (0.0, 4.0, 8.0)
    est = np.stack([numbers(fitted(text, changed(frame, ones, step), method))[0] for step in steps])
    _, se = numbers(plain)
    same = np.nanmax(np.abs(est - est[0]), axis=0, initial=0.0) < STOP * np.nan_to_num(se)  # what shifts do not move
    curve = np.linalg.inv(np.vander(steps, increasing=True)) @ est  # polynomials' coefficients
    whole = np.round(curve)  # means move by just the shift
    curve = np.where(np.abs(curve - whole) < STOP, whole, curve)
    alternate = {v: 10.0 ** (8 * (-1) ** k) for k, v in enumerate(ones)}
    if method in ITEMS_ALIKE:
        alternate = {v: 1e8 if v.startswith("y") else 1e-8 for v in ones}
    for scale, shift in ((alternate, 0.0), (dict.fromkeys(ones, 1e-8), 0.0), (ones, 1e8), (alternate, -1e8)):
        found = fitted(text, changed(frame, scale, shift), method)
        where = f"{method}, {name}, shift {shift:g}, scales {scale}"
        assert found.converged, where
        expected = shift ** np.arange(3) @ np.where(same, np.array([[1.0], [0.0], [0.0]]) * est[0], curve)
        k = factors(plain, scale)
        compare(k * expected, k * se, found, same | (shift == 0.0), ROUNDED, where)
        for measure in ("chisq", "df", "cfi", "rmsea", "srmr_between"):
            if np.isfinite(plain.measures.get(measure, np.nan)):  # chi-squares are differences of log-likelihoods
                assert found.measures[measure] == pytest.approx(plain.measures[measure], abs=1e-5), where
    return True


def check_moderate(method: str, name: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The same data, fitted as they are and in rescaled units: every number, log-likelihoods and SEs included."""
    text, frame = MODELS[name], data()
    plain = fitted(text, frame, method)
    if not plain.converged:
        return False
    scale = {v: 5.0 ** (-1) ** k for k, v in enumerate(plain.model.variables)}
    if method in ITEMS_ALIKE:
        scale = dict.fromkeys(scale, 5.0)
    moved = changed(frame, scale, 20.0)
    direct = fitted(text, moved, method)
    assert direct.context.units is None
    with monkeypatch.context() as patch:
        patch.setattr(rescaled, "SCALE", 2.0)
        patch.setattr(rescaled, "SHIFT", 4.0)
        found = fitted(text, moved, method)
    assert found.context.units is not None, f"{method}, {name}"
    compare(*numbers(direct), found, np.ones(len(found.parameters), dtype=bool), 20 * STOP, f"{method}, {name}")
    for key, value in direct.measures.items():  # of order 1000: rounding
        assert found.measures[key] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), f"{method}, {name}, {key}"
    return True


@pytest.mark.parametrize("method", ["msem", "mlm", "croon", "disaggregated"])
def test_units_do_not_matter(method: str) -> None:
    assert check_extremes(method, "contextual")


def test_working_units_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_moderate("msem", "x within only", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.names())
def test_units_do_not_matter_to_any_method(method: str) -> None:
    assert sum(check_extremes(method, name) for name in MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.names())
def test_working_units_change_no_number_of_any_method(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(check_moderate(method, name, monkeypatch) for name in MODELS)
