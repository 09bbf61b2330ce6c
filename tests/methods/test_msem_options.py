"""`msem`'s options: bounds, fixed x, fit measures in batches, robust SEs by hand, full information."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from estimator_data import BALANCED, CONTEXTUAL, MEDIATION, UNBALANCED, draw, fit, se, value
from scipy import optimize, stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample, from_frame
from simstudy.estimation.fit_measures import MEASURES
from simstudy.estimation.result import FitResult, Status
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.methods import registry
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

REFERENCE = Path(__file__).parents[1] / "reference" / "data"
KINDS = ["expected", "observed", "robust"]
CFA = TwoLevelModel.from_syntax("level: within\n fw =~ y1 + y2 + y3 + y4\nlevel: between\n fb =~ y1 + y2 + y3 + y4")
OUTCOME_2 = TwoLevelModel.from_syntax("level: within\n m ~ aw*x\nlevel: between\n m ~ ab*x\n z ~ bb*m")

# Fits stop within 1e-6 SE, and SEs are about .1.
FITTED = 1e-7


@pytest.fixture(scope="module")
def samples() -> dict[str, Sample]:
    """Data sets of each model, unbalanced, enough for every fit to converge."""
    return {
        "contextual": draw(CONTEXTUAL, UNBALANCED, 6, seed=1),
        "mediation": draw(MEDIATION, UNBALANCED, 6, seed=2),
        "level-2 outcome": draw(OUTCOME_2, UNBALANCED, 6, seed=3),
        "factors": draw(CFA, ClusterLayout.of([3, 4, 6, 8] * 20), 6, seed=4),
    }


MODELS = {"contextual": CONTEXTUAL, "mediation": MEDIATION, "level-2 outcome": OUTCOME_2, "factors": CFA}


def with_gaps(sample: Sample, share: float = 0.15, seed: int = 7) -> Sample:
    """Values missing at random places at both levels."""
    rng = np.random.default_rng(seed)
    rows, clusters = sample.rows.copy(), sample.clusters.copy()
    rows[rng.uniform(size=rows.shape) < share] = np.nan
    clusters[rng.uniform(size=clusters.shape) < share] = np.nan
    return Sample(sample.layout, sample.level1, sample.level2, rows, clusters)


def likelihood_of(model: TwoLevelModel, sample: Sample) -> tuple[TwoLevelLikelihood, Data]:
    layout = sample.layout
    structure = TwoLevelStructure(model)
    statistics = sample.arrange(model.level1, model.level2).statistics()
    return TwoLevelLikelihood(structure, layout.distinct, layout.counts), Data.of(statistics)


def same_bits(whole: FitResult, parts: list[FitResult]) -> None:
    def join(get: Callable[[FitResult], np.ndarray]) -> np.ndarray:
        return np.concatenate([get(part) for part in parts])

    for name in ("estimate", "loglik", "status", "admissible", "n_iter"):
        np.testing.assert_array_equal(join(lambda f, n=name: getattr(f, n)), getattr(whole, name), err_msg=name)
    for kind in whole.covariance:
        np.testing.assert_array_equal(join(lambda f, k=kind: f.covariance[k]), whole.covariance[kind], err_msg=kind)
    for name in whole.measures:
        np.testing.assert_array_equal(join(lambda f, n=name: f.measures[n]), whole.measures[name], err_msg=name)


def one_by_one(method_options: dict, model: TwoLevelModel, sample: Sample) -> list[FitResult]:
    index = np.arange(sample.n_replicates)
    return [fit("msem", model, sample.select(index[r : r + 1]), **method_options) for r in index]


# ---------------------------------------------------------------------- bounds


def reference(case: str) -> tuple[TwoLevelModel, Sample]:
    model = TwoLevelModel.from_syntax((REFERENCE / case / "model.lav").read_text())
    return model, from_frame(pd.read_csv(REFERENCE / case / "data.csv"), "g", model.level1, model.level2)


def conditions(model: TwoLevelModel, sample: Sample, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score (q,) in units of a standard error's information, and which parameters are held at 0."""
    likelihood, data = likelihood_of(model, sample)
    at = likelihood.evaluate(params[None], data)
    held = np.zeros(len(params), dtype=bool)
    held[model.table.variance_indices] = params[model.table.variance_indices] == 0.0
    return at.score[0] / np.sqrt(np.diag(at.information[0])), held


def bounded_by_scipy(model: TwoLevelModel, sample: Sample, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Maximum with variances of at least 0, by a general-purpose optimiser."""
    likelihood, data = likelihood_of(model, sample)
    variances = set(model.table.variance_indices.tolist())

    def objective(params: np.ndarray) -> tuple[float, np.ndarray]:
        at = likelihood.evaluate(params[None], data)
        return (-at.loglik[0], -at.score[0]) if at.ok[0] else (1e10, np.zeros_like(params))

    limits = [(0.0 if k in variances else None, None) for k in range(len(start))]
    begin = np.array([max(v, 0.05) if k in variances else v for k, v in enumerate(start)])
    found = optimize.minimize(
        objective, begin, jac=True, bounds=limits, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15}
    )
    return found.x, -float(found.fun)


@pytest.mark.parametrize(
    "case", ["xi_heywood_1", "xi_heywood_3", "xi_heywood_latcov", "xi_negicc", "xiii_tiny_s1", "xiii_tiny_s2"]
)
def test_bounded_heywood_cases_are_at_the_bounded_maximum(case) -> None:
    model, sample = reference(case)
    q, variances = len(model.names), model.table.variance_indices
    free = fit("msem", model, sample)
    assert (free.estimate[0, variances] < 0).any()
    bounded = fit("msem", model, sample, bounds="variances")
    params, loglik = bounded_by_scipy(model, sample, free.estimate[0, :q])
    assert loglik < free.loglik[0]
    if not bounded.converged[0]:
        # xi_heywood_1, xiii_tiny_s1: with m's residual at 0, m and x are collinear predictors of y
        assert bounded.status[0] == Status.SINGULAR_INFORMATION
        likelihood, data = likelihood_of(model, sample)
        params[variances] = np.where(params[variances] < 1e-7, 0.0, params[variances])
        information = likelihood.evaluate(params[None], data).information[0]
        scale = np.sqrt(np.diag(information))
        assert np.linalg.eigvalsh(information / np.outer(scale, scale))[0] < 1e-6  # singular but for scipy's stop
        return
    estimate = bounded.estimate[0, :q]
    score, held = conditions(model, sample, estimate)
    assert held.any()
    assert (estimate[variances] >= 0).all()
    # the optimiser stops at a Newton decrement of 1e-12: scores below 1e-6 of their standard deviation
    assert np.abs(score[~held]).max() < 1e-5
    assert (score[held] < 1e-5).all()
    # L-BFGS stops 1e-7 short at best
    assert bounded.loglik[0] >= loglik - 1e-6
    assert bounded.loglik[0] < free.loglik[0]
    assert np.isnan(bounded.se["expected"][0, :q][held]).all()
    assert (bounded.se["expected"][0, :q][~held] > 0).all()


def test_converged_bounded_fits_satisfy_the_optimality_conditions() -> None:
    """Held variances have scores that point outwards, all others vanish; interior fits are the unbounded ones."""
    layout = ClusterLayout.of([2, 3, 4, 5, 6] * 6)
    sample = draw(MEDIATION, layout, 30, seed=4, icc=0.15)
    free, bounded = (fit("msem", MEDIATION, sample, bounds=bounds) for bounds in ("none", "variances"))
    q, variances = len(MEDIATION.names), MEDIATION.table.variance_indices
    index = np.arange(30)
    n_held = 0
    for r in np.flatnonzero(bounded.converged):
        estimate = bounded.estimate[r, :q]
        assert (estimate[variances] >= 0).all()
        score, held = conditions(MEDIATION, sample.select(index[r : r + 1]), estimate)
        n_held += bool(held.any())
        assert np.abs(score[~held]).max() < 1e-5  # as above
        assert (score[held] < 1e-5).all()
        assert bounded.loglik[r] <= free.loglik[r] + 1e-9
        if free.converged[r] and (free.estimate[r, variances] >= 0).all():
            assert not held.any()
            np.testing.assert_allclose(estimate, free.estimate[r, :q], rtol=0, atol=FITTED)
    assert n_held >= 5
    assert bounded.converged.sum() - n_held >= 5
    # what did not converge lost a slope: a predictor's between variance is at its bound
    assert set(bounded.status[~bounded.converged]) <= {Status.SINGULAR_INFORMATION, Status.MAX_ITER}


def test_bounded_fits_never_report_a_negative_variance() -> None:
    sample = draw(CONTEXTUAL, ClusterLayout.of([4] * 15), 200, seed=4, icc=0.05).select(np.array([12]))
    bounded = fit("msem", CONTEXTUAL, sample, bounds="variances")
    variances = CONTEXTUAL.table.variance_indices
    assert not bounded.converged[0] or (bounded.estimate[0, variances] >= 0).all()


def test_bounds_of_interior_maxima_change_nothing(samples) -> None:
    for name, model in MODELS.items():
        sample, variances = samples[name], model.table.variance_indices
        interior = (fit("msem", model, sample).estimate[:, variances] > 0).all(axis=1)
        assert interior.sum() >= 3
        sample = sample.select(np.flatnonzero(interior))
        free, bounded = (fit("msem", model, sample, se=KINDS, bounds=b) for b in ("none", "variances"))
        np.testing.assert_allclose(bounded.estimate, free.estimate, rtol=0, atol=FITTED)
        np.testing.assert_allclose(bounded.loglik, free.loglik, rtol=1e-13)  # rounding
        for kind in KINDS:
            np.testing.assert_allclose(bounded.se[kind], free.se[kind], rtol=1e-7)  # a step of 1e-6 SE


# ---------------------------------------------------------------------- fixed x


def test_fixed_x_holds_the_unrestricted_moments_of_exogenous_variables(samples) -> None:
    model = MEDIATION
    full = TwoLevelModel.from_syntax("level: 1\n m ~ a*x\n y ~ b*m\nlevel: 2\n m ~ c*x\n y ~ d*m")
    held = ("within: x ~~ x", "between: x ~~ x", "between: x ~ 1")
    saturated = fit("msem", model, samples["mediation"])
    found = fit("msem", full, samples["mediation"], fixed_x=True, measures=True)
    free = fit("msem", full, samples["mediation"], measures=True)
    for name in held:
        for r in range(6):
            # the saturated model's x is the unrestricted one
            assert value(found, name, r) == pytest.approx(value(saturated, name, r), abs=FITTED)
            assert se(found, name, r=r) == 0.0
    others = [k for k, name in enumerate(full.names) if name not in held]
    assert (found.se["expected"][:, others] > 0).all()
    assert (found.loglik < free.loglik).all()  # over-identified: fixing x costs a little
    assert (found.loglik > free.loglik - 1.0).all()
    assert (found.measures["npar"] == free.measures["npar"] - 3).all()
    assert (found.measures["df"] == free.measures["df"]).all()


def test_fixed_x_of_saturated_models_changes_no_estimate(samples) -> None:
    for name in ("contextual", "mediation"):
        found, free = (fit("msem", MODELS[name], samples[name], fixed_x=fixed) for fixed in (True, False))
        np.testing.assert_allclose(found.estimate, free.estimate, rtol=0, atol=1e-7)  # both stop within 1e-6 SE
        np.testing.assert_allclose(found.loglik, free.loglik, rtol=1e-12)  # rounding


def test_fixed_x_drops_the_covariates_part_of_the_between_slopes_variance() -> None:
    """Theory B8 at the estimates: the last term, 2 n (beta_B - beta_W)^2 / (n - 1), is what fixed-x SEs leave out."""
    n, clusters = 6, 30
    sample = draw(CONTEXTUAL, BALANCED, 1, seed=9)
    x, y = (CONTEXTUAL.level1.index(name) for name in "xy")
    means = sample.rows[0, :, x].reshape(clusters, n).mean(axis=1)
    sample.rows[0, :, y] += 3.0 * np.repeat(means, n)  # slopes that differ
    found, free = (fit("msem", CONTEXTUAL, sample, fixed_x=fixed) for fixed in (True, False))
    tau2, sigma2 = value(free, "between: x ~~ x"), value(free, "within: x ~~ x")
    residual_b, residual_w = value(free, "between: y ~~ y"), value(free, "within: y ~~ y")
    delta = value(free, "contextual")
    reliability = tau2 / (tau2 + sigma2 / n)
    v = residual_b + residual_w / n + delta**2 * tau2 * (1 - reliability)
    odds = ((1 - reliability) / reliability) ** 2
    known = v / (reliability * tau2) + odds * residual_w / (sigma2 * (n - 1))
    dropped = odds * 2 * n * delta**2 / (n - 1)
    assert dropped > 0.01 * known
    # closed forms at the maximum, where both fits are to 1e-6 SE
    assert clusters * se(found, "bb") ** 2 == pytest.approx(known, rel=1e-5)
    assert clusters * se(free, "bb") ** 2 == pytest.approx(known + dropped, rel=1e-5)


HELD = {
    "a predictor at both levels": ("level: 1\n y ~ x\nlevel: 2\n y ~ x", {"within: x ~~ x", "between: x ~~ x"}),
    "outcome at one level": ("level: 1\n y ~ m\nlevel: 2\n m ~ x\n y ~ m", {"within: m ~~ m", "between: x ~~ x"}),
    "two predictors": (
        "level: 1\n y ~ x + w\nlevel: 2\n y ~ x",
        {"within: x ~~ x", "within: w ~~ w", "within: x ~~ w", "between: x ~~ x"},
    ),
    "residual covariance with an outcome": ("level: 1\n y ~ x\n x ~~ y\nlevel: 2\n y ~~ y\n x ~~ x", set()),
    "a bare covariance": ("level: 1\n y ~~ x\nlevel: 2\n y ~~ x", set()),
    "indicators": ("level: 1\n f =~ y + x + z\nlevel: 2\n g =~ y + x + z", set()),
    "predictor of a factor": (
        "level: 1\n f =~ y1 + y2 + y3\n f ~ x\nlevel: 2\n g =~ y1 + y2 + y3\n x ~~ x",
        {"within: x ~~ x"},
    ),
}


@pytest.mark.parametrize("what", HELD)
def test_which_variables_count_as_exogenous(what) -> None:
    """Observed predictors without arrows, indicators or residual covariances of their own, level by level."""
    text, expected = HELD[what]
    model = TwoLevelModel.from_syntax(text)
    prepared = registry.create("msem", {"fixed_x": True}).prepare(model, BALANCED)
    found = {model.names[k] for k in prepared.holding.held}
    assert {name for name in found if not name.endswith("~ 1")} == expected
    means = {name.partition(": ")[2].split(" ")[0] for name in found if name.endswith("~ 1")}
    between = {name.partition(": ")[2].split(" ")[0] for name in expected if name.startswith("between")}
    only_within = set(model.level1) - set(model.observed("between"))
    assert means == between | (only_within & {"w"})


def test_baseline_of_fixed_x_fits_keeps_covariances_of_exogenous_variables() -> None:
    """They are not part of the model (lavaan: baseline.fixed.x.free.cov), so its df are slopes only: 2 a level."""
    model = TwoLevelModel.from_syntax("level: 1\n y ~ x + w\nlevel: 2\n y ~ x + w")
    found = fit("msem", model, draw(model, UNBALANCED, 1), fixed_x=True, measures=True)
    assert found.measures["baseline_df"][0] == 4


def test_baseline_model_leaves_moments_of_exogenous_variables_as_free_as_the_model_does() -> None:
    """Two predictors a level, modelled or fixed: slopes are all that the baseline lacks; a covariance of 0 stays 0."""
    text = "level: 1\n y ~ x + w\nlevel: 2\n y ~ x + w"
    sample = draw(TwoLevelModel.from_syntax(text), UNBALANCED, 1)
    for fixed_x in (False, True):
        found = fit("msem", TwoLevelModel.from_syntax(text), sample, fixed_x=fixed_x, measures=True)
        assert found.measures["baseline_df"][0] == 4
    uncorrelated = TwoLevelModel.from_syntax(text.replace("level: 2", " x ~~ 0*w\nlevel: 2"))
    found = fit("msem", uncorrelated, sample, measures=True)
    assert found.measures["df"][0] == 1
    assert found.measures["baseline_df"][0] == 5  # nested in the model
    free = fit("msem", TwoLevelModel.from_syntax("level: 1\n y ~~ x + w\nlevel: 2\n y ~~ x + w"), sample, measures=True)
    assert free.measures["baseline_df"][0] == 6  # no predictors, so none is exogenous


# ---------------------------------------------------------------------- fit measures


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "options", [{}, {"fixed_x": True}, {"missing": "fiml"}, {"h1": "psd"}], ids=["plain", "fixed x", "fiml", "psd"]
)
def test_measures_of_a_batch_are_those_one_by_one_to_the_bit(name, options, samples) -> None:
    model, sample = MODELS[name], samples[name]
    if "missing" in options:
        sample = with_gaps(sample.select(slice(0, 3)))
    asked = {"se": KINDS, "measures": True, **options}
    whole = fit("msem", model, sample, **asked)
    assert whole.converged.all()
    assert set(whole.measures) == set(MEASURES)
    same_bits(whole, one_by_one(asked, model, sample))
    saturated = not whole.measures["df"][0]
    undefined = {"pvalue", "scaling", "pvalue_scaled"} if saturated else set()
    for measure, values in whole.measures.items():
        assert np.isnan(values).all() == (measure in undefined), measure


def test_measures_do_not_change_the_fit(samples) -> None:
    plain, measured = (fit("msem", CFA, samples["factors"], measures=measures) for measures in (False, True))
    np.testing.assert_array_equal(plain.estimate, measured.estimate)
    assert plain.measures == {}
    unscaled = {"scaling", "scaling_h0", "baseline_scaling", "chisq_scaled", "pvalue_scaled"}
    unscaled |= {f"{name}_{kind}" for name in ("cfi", "tli", "rmsea") for kind in ("scaled", "robust")}
    for name, values in measured.measures.items():  # scaled ones need the robust kind
        assert np.isnan(values).all() == (name in unscaled), name


def test_measures_of_a_failed_fit_are_missing() -> None:
    sample = draw(CFA, ClusterLayout.of([4] * 25), 20, seed=4, icc=0.1)
    found = fit("msem", CFA, sample, measures=True)
    bad = ~found.converged
    assert 0 < bad.sum() < 20
    for values in found.measures.values():
        assert np.isnan(values[bad]).all()
    assert np.isfinite(found.measures["chisq"][~bad]).all()


# ---------------------------------------------------------------------- robust SEs


class ClusterDensities:
    """Log-densities of clusters' rows and level-2 values as one normal vector each, and their derivatives."""

    def __init__(self, model: TwoLevelModel, sample: Sample) -> None:
        self.structure = TwoLevelStructure(model)
        sample = sample.arrange(model.level1, model.level2)
        p1, p = len(model.level1), len(model.variables)
        self.clusters = []
        for first, n, z in zip(sample.layout.row_starts, sample.layout.sizes, sample.clusters[0], strict=True):
            y = np.concatenate([sample.rows[0, first : first + n].ravel(), z])
            seen = ~np.isnan(y)
            take = np.concatenate([np.tile(np.arange(p1), n), np.arange(p1, p)])[seen]
            row = np.concatenate([np.repeat(np.arange(n), p1), np.full(p - p1, -1)])[seen]
            same_row = (row[:, None] == row) & (row >= 0)
            self.clusters.append((y[seen], take, same_row))

    def __call__(self, params: np.ndarray) -> np.ndarray:
        """(J,)."""
        mu, within, between = self.structure.moments(params)
        p1 = len(within)
        inner = np.zeros_like(between)
        inner[:p1, :p1] = within
        return np.array(
            [
                stats.multivariate_normal.logpdf(
                    y, mu[take], between[np.ix_(take, take)] + same_row * inner[np.ix_(take, take)]
                )
                for y, take, same_row in self.clusters
            ]
        )

    def scores(self, params: np.ndarray, h: float = 1e-3) -> np.ndarray:
        """(J, q): differences of fourth order."""
        moves = h * np.eye(len(params))
        parts = [
            self(params - 2 * m) - 8 * self(params - m) + 8 * self(params + m) - self(params + 2 * m) for m in moves
        ]
        return np.stack(parts, axis=1) / (12 * h)

    def hessian(self, params: np.ndarray, h: float) -> np.ndarray:
        """(q, q) of the sum: differences of second order."""
        q = len(params)
        moves, signs = h * np.eye(q), [(s, t) for s in (1, -1) for t in (1, -1)]
        found = np.empty((q, q))
        for a in range(q):
            for b in range(a + 1):
                corners = [s * t * self(params + s * moves[a] + t * moves[b]).sum() for s, t in signs]
                found[a, b] = found[b, a] = sum(corners) / (4 * h * h)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["listwise", "fiml"])
def test_robust_ses_are_those_of_cluster_densities_written_out(missing) -> None:
    """H^-1 (sum of s_j s_j') H^-1 with scores and Hessian differenced from stacked normal densities."""
    model = OUTCOME_2
    sample = draw(model, ClusterLayout.of([2, 3, 3, 5] * 6), 1, seed=12, icc=0.6)
    if missing == "fiml":
        sample = with_gaps(sample)
    found = fit("msem", model, sample, se=KINDS, missing=missing, measures=True)
    assert found.converged.all()
    params, densities = found.estimate[0], ClusterDensities(model, sample)
    assert densities(params).sum() == pytest.approx(found.loglik[0], rel=1e-13)  # rounding
    scores = densities.scores(params)
    # Richardson's extrapolation: an error of h^4 = 1e-8 times sixth derivatives, rounding 1e-14 * 100 / h^2 = 1e-8
    bread = np.linalg.inv((densities.hessian(params, 0.01) - 4.0 * densities.hessian(params, 0.005)) / 3.0)
    robust = bread @ scores.T @ scores @ bread
    np.testing.assert_allclose(np.sqrt(np.diag(bread)), found.se["observed"][0], rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(robust)), found.se["robust"][0], rtol=1e-4)
    # with our own bread only the scores differ: fourth-order differences, 1e-9
    own = found.covariance["observed"][0]
    np.testing.assert_allclose(own @ scores.T @ scores @ own, found.covariance["robust"][0], rtol=0, atol=1e-8)
    trace = np.trace(own @ scores.T @ scores)
    # Theory C11, the same differences
    assert found.measures["scaling_h0"][0] == pytest.approx(trace / len(params), rel=1e-7)


# ---------------------------------------------------------------------- missing values


@pytest.mark.parametrize("name", MODELS)
def test_full_information_without_missing_values_is_the_complete_fit(name, samples) -> None:
    model, sample = MODELS[name], samples[name].select(slice(0, 2))
    complete = fit("msem", model, sample, se=KINDS, measures=True)
    full = fit("msem", model, sample, se=KINDS, measures=True, missing="fiml")
    # scoring, which full information ends with, may stop 1e-6 standard errors of up to .5 before the maximum
    np.testing.assert_allclose(full.estimate, complete.estimate, rtol=0, atol=1e-6)
    np.testing.assert_allclose(full.loglik, complete.loglik, rtol=1e-13)  # rounding
    for kind in KINDS:
        # the observed information differences the score: 2e-8 of its largest element
        np.testing.assert_allclose(full.se[kind], complete.se[kind], rtol=1e-6)
    for measure in complete.measures:
        np.testing.assert_allclose(
            full.measures[measure], complete.measures[measure], rtol=1e-6, atol=1e-7, equal_nan=True, err_msg=measure
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_full_information_fits_of_a_batch_are_those_one_by_one_to_the_bit(name, samples) -> None:
    model, sample = MODELS[name], with_gaps(samples[name].select(slice(0, 3)))
    options = {"se": KINDS, "missing": "fiml"}
    whole = fit("msem", model, sample, **options)
    assert whole.converged.all()
    same_bits(whole, one_by_one(options, model, sample))


def test_full_information_uses_what_listwise_deletion_throws_away(samples) -> None:
    sample = with_gaps(samples["mediation"], 0.2).select(slice(0, 1))
    keep = ~np.isnan(sample.rows[0]).any(axis=1)
    codes = np.repeat(np.arange(sample.layout.n_clusters), sample.layout.sizes)
    frame = pd.DataFrame(sample.rows[0][keep], columns=list(sample.level1)).assign(g=codes[keep])
    listwise = fit("msem", MEDIATION, from_frame(frame, "g", sample.level1))
    full = fit("msem", MEDIATION, sample, missing="fiml", se=["observed"])
    for name in ("aw", "bw", "ab"):
        assert se(full, name, "observed") < se(listwise, name)


def test_order_of_variables_in_the_sample_does_not_matter(samples) -> None:
    sample = with_gaps(samples["mediation"]).select(slice(0, 2))
    turned = sample.arrange(tuple(reversed(sample.level1)), sample.level2)
    first, second = (fit("msem", MEDIATION, data, missing="fiml") for data in (sample, turned))
    np.testing.assert_array_equal(first.estimate, second.estimate)


def test_bounds_and_fixed_x_go_with_missing_values() -> None:
    model, sample = reference("xi_heywood_3")
    gaps = with_gaps(sample, 0.05)
    found = fit("msem", model, gaps, missing="fiml", bounds="variances", se=["observed"])
    assert found.converged.all()
    assert (found.estimate[0, model.table.variance_indices] >= 0).all()
    held = fit("msem", MEDIATION, with_gaps(draw(MEDIATION, UNBALANCED, 1, seed=2)), missing="fiml", fixed_x=True)
    assert held.converged.all()
    for name in ("within: x ~~ x", "between: x ~~ x", "between: x ~ 1"):
        assert se(held, name) == 0.0


def test_full_information_needs_rows() -> None:
    assert registry.create("msem", {"missing": "fiml"}).needs == "sample"
    assert registry.create("msem", {"se": ["robust"]}).needs == "clusters"
    assert registry.create("msem", {}).needs == "statistics"
    prepared = registry.create("msem", {"missing": "fiml"}).prepare(CONTEXTUAL, BALANCED)
    with pytest.raises(AssertionError, match="needs rows"):
        prepared.fit(draw(CONTEXTUAL, BALANCED).statistics())
