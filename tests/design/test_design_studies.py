"""The designs of item 6 of issue 3: their populations are what the model estimates, and they show what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simstudy.data.statistics import from_moments
from simstudy.design import Cell, Design, load_design
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import registry
from simstudy.population.draw import draw_cluster_statistics, draw_sample, draw_statistics
from simstudy.population.missing import listwise

DESIGNS = Path(__file__).resolve().parents[2] / "designs"
NAMES = ("cfa_two_level", "latent_mediation", "nonnormal", "missing_mar")


def load(name: str) -> Design:
    return load_design(DESIGNS / f"{name}.toml")


@pytest.mark.parametrize("name", NAMES)
def test_the_population_is_what_msem_estimates(name: str) -> None:
    """Fed with the population's moments, it returns the truth of every cell."""
    design = load(name)
    for cell in design.cells:
        m, layout = cell.population.moments, cell.population.layout
        data = from_moments(layout, m.level1, m.level2, m.mu, m.sigma_within, m.sigma_between)
        fit = with_defined(registry.create("msem", {}).prepare(design.model, layout).fit(data), design.model.estimands)
        assert fit.converged.all()
        # the scoring stops when the gradient is small enough for 1e-6 in the estimates
        np.testing.assert_allclose(fit.estimate[0], cell.population.truth(design.model), rtol=0, atol=1e-6)


def test_what_the_designs_vary() -> None:
    cfa = load("cfa_two_level")
    assert {(c.factors["n_clusters"], c.factors["cluster_size"]) for c in cfa.cells} == {
        (j, n) for j in (50, 100, 200) for n in (5, 20)
    }
    assert cfa.estimators[0].options["measures"]
    latent = load("latent_mediation")
    truth = dict(zip(latent.model.reported, latent.cells[0].population.truth(latent.model), strict=True))
    assert (truth["ind_w"], truth["ind_b"]) == pytest.approx((0.04, 0.2))
    heavy = load("nonnormal")
    assert [cell.population.normal for cell in heavy.cells] == [True, False, False, False] * 2
    missing = load("missing_mar")
    assert [entry.options["missing"] for entry in missing.estimators] == ["listwise", "fiml"]
    assert all(cell.population.has_missing for cell in missing.cells)
    assert len({cell.population.data_key for cell in missing.cells}) == 2


# ---- what they show -------------------------------------------------------------------------------------------------


def fits(design: Design, cell: Cell, name: str, n: int) -> FitResult:
    """Fits of n replicates, as a study makes them."""
    population, model = cell.population, design.model
    method = next(entry.estimator for entry in design.estimators if entry.name == name)
    parts = []
    for first in range(0, n, 20):
        replicates = range(first, first + 20)
        if population.has_missing and method.needs != "sample":
            sample = draw_sample(population, design.seed, replicates).arrange(model.level1, model.level2)
            for r in range(20):
                one = listwise(sample, r)
                parts.append(method.prepare(model, one.layout).fit(one.statistics()))
            continue
        draw = {"sample": draw_sample, "clusters": draw_cluster_statistics, "statistics": draw_statistics}[method.needs]
        parts.append(method.prepare(model, population.layout).fit(draw(population, design.seed, replicates)))
    return with_defined(FitResult.concat(parts), model.estimands)


def cell_of(design: Design, **factors: float) -> Cell:
    (cell,) = [c for c in design.cells if all(c.factors[name] == value for name, value in factors.items())]
    return cell


def coverage(design: Design, cell: Cell, fit: FitResult, kind: str, label: str) -> float:
    k = design.model.reported.index(label)
    truth = cell.population.truth(design.model)[k]
    return float((np.abs(fit.estimate[:, k] - truth) < 1.959964 * fit.se[kind][:, k])[fit.converged].mean())


def bias_z(design: Design, cell: Cell, fit: FitResult, label: str) -> float:
    """Bias in Monte Carlo standard errors."""
    k = design.model.reported.index(label)
    x = fit.estimate[fit.converged, k] - cell.population.truth(design.model)[k]
    return float(x.mean() / (x.std(ddof=1) / np.sqrt(len(x))))


@pytest.mark.slow
def test_factor_models_with_many_clusters_do_as_theory_says() -> None:
    """J = 200: all converge, coverage and chi-square are near their nominal values, bias is small."""
    design = load("cfa_two_level")
    for cell in (cell_of(design, n_clusters=200, cluster_size=n) for n in (5, 20)):
        fit = fits(design, cell, "msem", 600)
        assert fit.converged.mean() > 0.99
        # 4 Monte Carlo standard errors of a share of .95 or .05 with 600 replicates: .036; J = 200 itself costs .01
        assert 0.05 - 0.036 < np.mean(fit.measures["pvalue"] < 0.05) < 0.05 + 0.046
        for label in ("l2", "l6", "c12", "k4", "vb", "r12"):
            k = design.model.reported.index(label)
            truth = cell.population.truth(design.model)[k]
            assert abs(fit.estimate[:, k].mean() - truth) < 0.05 * truth, label
            for kind in ("expected", "observed", "robust"):
                assert abs(coverage(design, cell, fit, kind, label) - 0.95) < 0.046, (label, kind)


@pytest.mark.slow
def test_few_clusters_and_small_ones_still_converge() -> None:
    design = load("cfa_two_level")
    fit = fits(design, cell_of(design, n_clusters=50, cluster_size=5), "msem", 300)
    assert fit.converged.mean() > 0.97
    assert fit.admissible.mean() > 0.7


@pytest.mark.slow
def test_latent_mediation_is_recovered_where_the_levels_are_separated() -> None:
    design = load("latent_mediation")
    cell = cell_of(design, n_clusters=200, cluster_size=20)
    fit = fits(design, cell, "msem", 300)
    assert fit.converged.all()
    for label in ("aw", "bw", "ab", "bb", "ind_w", "ind_b"):
        assert abs(bias_z(design, cell, fit, label)) < 4, label
        assert abs(coverage(design, cell, fit, "expected", label) - 0.95) < 0.06, label  # 4 MCSE and small-sample error
    assert bias_z(design, cell, fits(design, cell, "disaggregated", 100), "ab") < -10


@pytest.mark.slow
def test_robust_standard_errors_keep_their_coverage_under_heavy_tails() -> None:
    design = load("nonnormal")
    heavy = cell_of(design, n_clusters=200, kurtosis_within=6, kurtosis_between=6)
    normal = cell_of(design, n_clusters=200, kurtosis_within=0, kurtosis_between=0)
    tails, plain = fits(design, heavy, "msem", 600), fits(design, normal, "msem", 600)
    for label in ("aw", "bw", "ab", "bb"):
        assert abs(bias_z(design, heavy, tails, label)) < 4
        assert abs(coverage(design, normal, plain, "expected", label) - 0.95) < 0.04
        assert coverage(design, heavy, tails, "expected", label) < 0.90
        assert coverage(design, heavy, tails, "robust", label) > 0.91
    assert np.mean(tails.measures["pvalue"] < 0.05) > 0.15
    assert np.mean(tails.measures["pvalue_scaled"] < 0.05) < 0.11
    assert np.mean(plain.measures["pvalue"] < 0.05) < 0.08


@pytest.mark.slow
def test_fiml_is_unbiased_under_mar_where_listwise_deletion_is_not() -> None:
    design = load("missing_mar")
    cell = cell_of(design, n_clusters=200, rate=0.4)
    fiml, deleted = fits(design, cell, "fiml", 200), fits(design, cell, "listwise", 200)
    assert fiml.converged.all()
    for label in ("aw", "bw", "cw", "ab", "bb", "cb", "ind_w", "ind_b"):
        assert abs(bias_z(design, cell, fiml, label)) < 4, label
        for kind in ("observed", "robust"):
            assert abs(coverage(design, cell, fiml, kind, label) - 0.95) < 0.07, (label, kind)  # 4 MCSE: .062
    for label in ("aw", "ab", "ind_w", "ind_b"):
        assert bias_z(design, cell, deleted, label) < -8, label
