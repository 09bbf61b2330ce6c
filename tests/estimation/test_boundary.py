"""Bounds and inequalities: against lavaan 0.6-14, against equations, and in batches.

lavaan's numbers are those of ``sem(text, data, cluster = "g", fixed.x = FALSE, information = "expected")`` on the
reference case ``iii_m111_unb``; its constrained optimiser stops early, so that its log-likelihoods are right to 1e-4
and its estimates to 1e-3. Where it is not the maximum ours must be higher.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simstudy.analysis.as_dict import fit_as_dict
from simstudy.analysis.fit import fit
from simstudy.analysis.result import FitRecord
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.result import Status
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.methods import ask, registry
from simstudy.methods.msem import Msem
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

DATA = Path(__file__).parents[1] / "reference" / "data" / "iii_m111_unb" / "data.csv"
BASE = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
"""
NAMES = ("aw", "bw", "cw", "ab", "bb", "cb")
LOGLIK, ESTIMATE = 1e-4, 1.5e-3  # where lavaan's constrained optimiser stops (above)
FITTED = 1e-7  # the optimiser stops within 1e-6 SE, and SEs are about .03 to .2

# text: lavaan's log-likelihood, estimates of NAMES, and what holds with equality
LAVAAN = {
    "aw + bw < 0.5": (-5552.328325, (0.286107, 0.213893, 0.135254, 0.560388, 0.737282, -0.078968), 1),
    "aw*bw > 0.2": (-5582.391312, (0.475562, 0.420555, 0.066311, 0.482372, 0.642359, -0.002398), 1),
    "aw + bw < 0.6\naw < 0.25\nbw > 0.33": (
        -5557.716176,
        (0.25, 0.33, 0.096501, 0.576037, 0.688736, -0.052907),
        2,
    ),
    "aw + bw < 0.5\naw*bw < 0.05": (-5556.004941, (0.280322, 0.178367, 0.147109, 0.562736, 0.753119, -0.090250), 1),
    "cb < -0.1\nab + bb > 2": (-5554.775982, (0.324691, 0.255011, 0.123735, 0.808176, 1.191824, -0.463783), 1),
    "ind := aw*bw\nindb := ab*bb\nindb > 2*ind + 1": (
        -5557.534108,
        (0.316248, 0.248218, 0.126609, 0.930451, 1.243480, -0.566956),
        1,
    ),
    "aw == 2*ab\nab > 0.2": (-5555.242950, (0.4, 0.259593, 0.120279, 0.2, 0.699884, -0.003143), 1),
    "aw + bw < 5\ncw > 0.1": (-5549.266589, (0.332431, 0.259644, 0.120035, 0.541506, 0.713056, -0.056591), 0),
}


@cache
def data() -> pd.DataFrame:
    return pd.read_csv(DATA)


@cache
def fitted(tail: str = "", **options) -> FitRecord:
    found = fit(BASE + tail, data(), cluster="g", **options)
    assert found.converged, tail
    return found


def values(found: FitRecord, names: tuple[str, ...] = NAMES) -> np.ndarray:
    table = found.parameters.drop_duplicates("label").set_index("label")
    return table.loc[list(names), "est"].to_numpy(dtype=float)


def notes_of_bounds(found: FitRecord) -> list[str]:
    return [note for note in found.notes if "at its bound," in note or "holds with equality" in note]


@pytest.mark.parametrize("tail", LAVAAN)
def test_estimates_are_those_of_lavaan(tail) -> None:
    loglik, estimates, active = LAVAAN[tail]
    found = fitted(tail)
    assert found.measures["loglik"] > loglik - LOGLIK
    np.testing.assert_allclose(values(found), estimates, rtol=0, atol=ESTIMATE)
    assert len(notes_of_bounds(found)) == active
    free = fitted()
    ties = tail.count("==")
    assert found.measures["npar"] == free.measures["npar"] - ties  # as in lavaan
    assert found.measures["df"] == free.measures["df"] + ties
    if active:
        gap = fitted().measures["loglik"] - found.measures["loglik"]
        assert found.measures["chisq"] == pytest.approx(free.measures["chisq"] + 2 * gap, abs=1e-6)  # rounding of 1e4
    else:
        np.testing.assert_allclose(found.params, free.params, rtol=0, atol=FITTED)


@pytest.mark.parametrize(
    ("inequality", "equation"),
    [
        ("bw > aw", "bw == aw"),
        ("aw + bw < 0.5", "aw + bw == 0.5"),
        ("aw*bw > 0.2", "aw*bw == 0.2"),
        ("aw < 0.3", "aw == 0.3"),
    ],
)
@pytest.mark.parametrize("se", ["expected", "observed", "robust"])
def test_what_holds_with_equality_is_an_equation(inequality, equation, se) -> None:
    """Estimates and SEs along the boundary are those of the model with the equation."""
    bounded, tied = fitted(inequality, se=se), fitted(equation, se=se)
    names = tuple(name for name in NAMES if name not in ("aw", "bw"))
    np.testing.assert_allclose(values(bounded, names), values(tied, names), rtol=0, atol=FITTED)
    ours, theirs = (f.parameters.set_index("label").loc[list(names), "se"].to_numpy(float) for f in (bounded, tied))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)  # information of the last but one step
    assert bounded.measures["loglik"] == pytest.approx(tied.measures["loglik"], abs=1e-8)  # rounding of 1e4
    assert bounded.measures["npar"] == tied.measures["npar"] + 1


def test_a_bound_has_no_standard_error_and_is_named() -> None:
    found = fitted("aw < 0.3")
    row = found.parameters.set_index("label").loc["aw"]
    assert row["est"] == 0.3
    assert np.isnan(row["se"])
    assert found.covariance[found.model.names.index("aw")].tolist() == [0.0] * len(found.model.names)
    assert "aw is at its bound, 0.3" in found.notes
    assert fit_as_dict(found)["boundary"] is True
    assert not notes_of_bounds(fitted("aw < 0.4"))
    assert fit_as_dict(fitted("aw < 0.4"))["boundary"] is False


def test_what_bounds_alone_define_has_no_standard_error_either() -> None:
    found = fitted("aw < 0.3\nbw > 0.4\nd := 2*aw\ne := aw*bw\ns := aw + cw")
    se = found.parameters[found.parameters["op"] == ":="].set_index("label")["se"]
    assert np.isnan(se["d"])
    assert np.isnan(se["e"])
    assert se["s"] == found.parameters.set_index("label").loc["cw", "se"]  # aw counts as known


def test_modifiers_and_inequalities_are_the_same_bounds() -> None:
    modified = BASE.replace("aw*x", "aw*x + upper(0.3)*x").replace("y ~ bb*m", "y ~ bb*m + lower(0.9)*m")
    found = fit(modified, data(), cluster="g")
    np.testing.assert_array_equal(found.params, fitted("aw < 0.3\nbb > 0.9").params)
    assert sorted(notes_of_bounds(found)) == ["aw is at its bound, 0.3", "bb is at its bound, 0.9"]


def test_bounds_go_with_fixed_x_and_missing_values() -> None:
    held = fitted("aw < 0.3", fixed_x=True)
    np.testing.assert_allclose(values(held), values(fitted("aw == 0.3", fixed_x=True)), rtol=0, atol=FITTED)
    gaps = data().iloc[:400].copy()
    gaps.loc[gaps.index[::7], "y"] = np.nan
    with_gaps, tied = (
        fit(BASE + tail, gaps, cluster="g", missing="fiml") for tail in ("aw + bw < 0.4", "aw + bw == 0.4")
    )
    assert with_gaps.converged
    np.testing.assert_allclose(values(with_gaps), values(tied), rtol=0, atol=1e-6)  # SEs are twice as large


# ---------------------------------------------------------------------- batches


def samples(n: int, seed: int = 11) -> Sample:
    """Data sets in which bw scatters around its bound."""
    layout = ClusterLayout.of([3, 4, 5, 6, 7] * 6)
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(30), layout.sizes)
    x, u = rng.normal(size=(n, layout.n_obs)), rng.normal(size=(2, n, 30))[:, :, ids]
    m = 0.3 * x + 0.5 * u[0] + rng.normal(size=x.shape)
    y = 0.3 * m + 0.5 * u[1] + rng.normal(size=x.shape)
    return Sample(layout, ("m", "x", "y"), (), np.stack([m, x + 0.5 * u[1], y], axis=-1), np.zeros((n, 30, 0)))


@pytest.mark.parametrize("tail", ["bw > 0.3\naw < 0.35", "aw + bw < 0.6"])
def test_bits_do_not_depend_on_the_batch(tail) -> None:
    model = TwoLevelModel.from_syntax(BASE + tail)
    many = samples(6).arrange(model.level1, model.level2)
    prepared = Msem(se=("expected", "robust"), measures=True).prepare(model, many.layout)
    whole = prepared.fit(many)
    assert 0 < whole.measures["boundary"].sum() < 6
    for size in (1, 4):
        for begin in range(0, 6, size):
            part = prepared.fit(many.select(slice(begin, begin + size)))
            stop = begin + size
            np.testing.assert_array_equal(part.estimate, whole.estimate[begin:stop])
            np.testing.assert_array_equal(part.se["robust"], whole.se["robust"][begin:stop])
            np.testing.assert_array_equal(part.measures["chisq"], whole.measures["chisq"][begin:stop])


def test_maxima_fulfil_the_conditions() -> None:
    """Scores vanish but for parameters at a bound, where they point outwards (Karush, Kuhn & Tucker)."""
    model = TwoLevelModel.from_syntax(BASE + "bw > 0.3\naw < 0.35\ncw > 0\nbb < 0.5")
    many = samples(40, seed=3).arrange(model.level1, model.level2)
    found = Msem().prepare(model, many.layout).fit(many)
    likelihood = TwoLevelLikelihood(TwoLevelStructure(model), many.layout.distinct, many.layout.counts)
    at = likelihood.evaluate(found.estimate, Data.of(many.statistics(cluster_wise=False)))
    score = at.score / np.sqrt(np.diagonal(at.information, axis1=1, axis2=2))
    ok = found.converged
    assert ok.mean() > 0.8
    low, high = found.estimate == model.table.lower, found.estimate == model.table.upper
    assert (low | high)[ok].sum() > 20
    assert (
        np.abs(score[ok][~(low | high)[ok]]).max() < 1e-5
    )  # a Newton decrement of 1e-12: 1e-6 of a standard deviation
    assert (score[ok][low[ok]] < 1e-5).all()
    assert (score[ok][high[ok]] > -1e-5).all()
    assert (found.estimate[ok] >= model.table.lower).all()
    assert (found.estimate[ok] <= model.table.upper).all()


# ---------------------------------------------------------------------- other methods


@pytest.mark.parametrize("name", registry.names())
def test_other_methods_refuse_bounds_by_name(name) -> None:
    layout = ClusterLayout.of([10] * 50)
    for tail in ("aw > 0", "aw + bw < 1"):
        model = TwoLevelModel.from_syntax(BASE + tail)
        free = registry.create(name).supports(TwoLevelModel.from_syntax(BASE), layout)
        reason = registry.create(name).supports(model, layout)
        if name == "msem":
            assert reason is None
        elif free is None:
            assert reason is not None
            assert "bounds and inequalities" in reason


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("tail", ["s ~~ v*s\n v > .1", "s ~~ lower(.1)*s", "s ~~ v*s\n y ~~ u*y\n u == 2*v"])
def test_with_random_slopes_msem_alone_imposes_them_and_is_recommended(name, tail) -> None:
    model = TwoLevelModel.from_syntax(f'level: within\n y ~ rv("s")*x\nlevel: between\n y ~~ s\n {tail}')
    layout = ClusterLayout.of([10] * 50)
    reason = ask.for_model(registry.create(name), model).supports(model, layout)
    if name == "msem":
        assert reason is None
    else:
        assert reason is not None
        assert "msem does, with slopes that vary" in reason


def test_slopes_that_are_held_fixed_have_no_bounds() -> None:
    text = 'level: within\n y ~ rv("s")*x\nlevel: between\n y ~ lower(0)*w'
    frame = data().assign(w=data().groupby("g")["m"].transform("mean"))
    assert fit(text, frame, cluster="g").converged
    found = fit(text, frame, cluster="g", slopes="fixed")
    assert found.status == Status.NOT_SUPPORTED
    assert any("bounds and inequalities" in note for note in found.notes)
