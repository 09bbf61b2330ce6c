"""`msem` with random slopes given exogenous variables: which they are, what is refused, tests, units, batches."""

from __future__ import annotations

import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import simstudy
from simstudy.analysis.nested import likelihood_ratio_test, slope_variance_test
from simstudy.analysis.result import FitRecord
from simstudy.data.layout import ClusterLayout
from simstudy.errors import ConvergenceWarning, EstimatorError
from simstudy.estimation.result import Status
from simstudy.methods import ask
from simstudy.methods.likelihood_of import KINDS, LikelihoodOf
from simstudy.methods.msem_slopes import SlopeMsem
from simstudy.methods.registry import create, names
from simstudy.model.exogenous import GivenVariables
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import calibrate
from simstudy.population.draw import draw_cluster_statistics
from simstudy.population.population import Population

CROSS = "level: 1\n y ~ rv('s')*x + v\nlevel: 2\n y ~ w\n s ~ w\n y ~~ s\n"
MEDIATION = "level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m + x\nlevel: 2\n y ~ m\n a ~~ b\n"


@cache
def rows(seed: int = 8, n_clusters: int = 50) -> pd.DataFrame:
    """Slopes that vary by a binary w; x has no between part; v is skewed."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_clusters), rng.integers(4, 11, n_clusters))
    w = rng.integers(0, 2, n_clusters).astype(float)
    u = rng.multivariate_normal([0, 0], [[0.4, 0.1], [0.1, 0.2]], n_clusters)
    x, v = rng.normal(size=len(g)), rng.exponential(size=len(g))
    y = 1 + 0.4 * w[g] + u[g, 0] + (0.3 + 0.4 * w[g] + u[g, 1]) * x + 0.2 * v + rng.normal(size=len(g))
    m = rng.normal(scale=0.7, size=n_clusters)[g] + (0.4 + rng.normal(scale=0.5, size=n_clusters)[g]) * x
    m += rng.normal(size=len(g))
    y += (0.3 + rng.normal(scale=0.4, size=n_clusters)[g]) * m
    return pd.DataFrame({"g": g, "x": x, "v": v, "w": w[g], "m": m, "y": y})


@cache
def fitted(text: str = CROSS, **options) -> FitRecord:
    found = simstudy.fit(text, rows(), cluster="g", **options)
    assert found.converged
    return found


def normal(*columns: pd.Series) -> float:
    """Largest log-likelihood of jointly normal columns."""
    values = np.stack([np.asarray(column) for column in columns], axis=1)
    cov = np.atleast_2d(np.cov(values.T, bias=True))
    n, k = values.shape
    return -0.5 * n * (k * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + k)


# ---- what is given ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "level1", "level2"),
    [
        (CROSS, ("x", "v"), ("w",)),
        (MEDIATION, ("x",), ()),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ w\n z ~ s + w\n y ~~ z\n", ("x",), ("w",)),
        ("level: 1\n y ~ rv('s')*m\n m ~ x\nlevel: 2\n y ~~ s\n", ("x",), ()),
    ],
)
def test_given_are_predictors_of_one_level_that_nothing_explains(text, level1, level2) -> None:
    given = GivenVariables.of(TwoLevelModel.from_syntax(text))
    assert (given.level1, given.level2) == (level1, level2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x\n", "'x' stands in both blocks.*its observed cluster means"),
        ("level: 1\n y ~ rv('s')*x + v\nlevel: 2\n y ~ v\n y ~~ s\n", "'v' stands in both blocks"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ w + m2\n m2 ~~ y\n", r"'w' covaries with 'm2'.*'m2 ~ w'"),
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ w\n y ~~ k*y\n w ~~ k*w\n", "'k' is a parameter of the model, too"),
        ("level: 1\n y ~ rv('s')*x\n x ~~ a*x\n y ~~ b*y\na == 2*b\nlevel: 2\n y ~~ s\n", "'a == 2.b' restricts.*'a'"),
        ("level: 1\n y ~ rv('s')*x\n x ~~ a*x\n y ~~ b*y\na < b\nlevel: 2\n y ~~ s\n", "'a < b' restricts.*'a'"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_refused_by_name(text, says) -> None:
    data = rows().assign(m2=rows()["w"] + rows().groupby("g")["v"].transform("mean"))
    with pytest.warns(ConvergenceWarning):
        found = simstudy.fit(text, data, cluster="g", fixed_x=True)
    assert found.status is Status.NOT_SUPPORTED
    (why,) = found.why
    assert re.search(says, why), why
    assert simstudy.fit(text, data, cluster="g").status is not Status.NOT_SUPPORTED


def test_without_exogenous_variables_it_is_the_joint_likelihood() -> None:
    text = "level: 1\n y ~ rv('s')*m\nlevel: 2\n y ~ m\n y ~~ s\n m ~~ s\n"
    with_x = TwoLevelModel.from_syntax(text)
    assert SlopeMsem(fixed_x=True).likelihood_of(with_x).kind == "joint"


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_a_mediator_with_a_latent_mean_is_modelled_and_its_predictor_given() -> None:
    """The integral is over m's latent mean; x's density is a factor of the joint one."""
    given, joint = fitted(MEDIATION, fixed_x=True), fitted(MEDIATION)
    assert [fact.meaning for fact in given.slopes] == ["observed", "latent"]
    assert joint.loglik - given.loglik == pytest.approx(normal(rows()["x"]), abs=1e-8)
    np.testing.assert_allclose(given.params, joint.params, rtol=0, atol=1e-8)
    assert joint.measures["npar"] - given.measures["npar"] == 2
    assert given.likelihood == LikelihoodOf("given_x", ("m", "y"), ("x",))


def test_moments_that_the_model_restricts_do_not_matter() -> None:
    """Covariances and means of exogenous variables held at wrong values change the joint likelihood alone."""
    wrong = CROSS.replace("level: 2", " x ~~ 0*v\n x ~ 0.5*1\nlevel: 2")
    assert fitted(wrong, fixed_x=True).loglik == pytest.approx(fitted(fixed_x=True).loglik, abs=1e-8)
    assert fitted(wrong).loglik < fitted().loglik - 10


def test_aic_bic_and_the_scaling_factor_are_of_the_same_likelihood() -> None:
    found = fitted(se="robust", fixed_x=True)
    q, n = found.measures["npar"], len(rows())
    assert q == 9
    assert found.aic == pytest.approx(2 * q - 2 * found.loglik, abs=1e-9)
    assert found.bic == pytest.approx(np.log(n) * q - 2 * found.loglik, abs=1e-9)
    covariance = fitted(se="observed", fixed_x=True).covariance
    free = np.diagonal(covariance) > 0
    block = np.ix_(free, free)
    product = np.linalg.solve(covariance[block], found.covariance[block])
    assert found.measures["scaling_h0"] == pytest.approx(np.trace(product) / q, rel=1e-6)


def test_badly_scaled_data_have_the_same_fit() -> None:
    """Units of given variables do not enter the log-likelihood; those of y enter once a row."""
    data = rows().assign(x=1e6 * rows()["x"] + 3e9, w=1e-5 * rows()["w"], y=1e4 * rows()["y"])
    found = simstudy.fit(CROSS, data, cluster="g", fixed_x=True)
    assert found.context.units is not None
    assert found.loglik == pytest.approx(fitted(fixed_x=True).loglik - len(data) * np.log(1e4), abs=1e-6)


def test_batches_of_any_size_have_the_same_bits() -> None:
    model = TwoLevelModel.from_syntax(CROSS)
    values = {
        "within: y ~ v": 0.2, "between: y ~ w": 0.3, "between: s ~ w": 0.2, "between: s ~ 1": 0.4,
        "between: y ~~ y": 0.3, "between: s ~~ s": 0.15, "between: y ~~ s": 0.1, "within: y ~~ y": 1.0,
        "within: x ~~ x": 1.0, "within: v ~~ v": 1.0, "between: w ~~ w": 1.0,
    }  # fmt: skip
    layout = ClusterLayout.of([2, 3, 5, 8, 12] * 8)
    drawn = draw_cluster_statistics(Population(model, calibrate(model, values), layout, "given x"), 3, range(7))
    prepared = SlopeMsem(("observed", "robust"), measures=True, fixed_x=True).prepare(model, layout)
    whole = prepared.fit(drawn)
    assert whole.converged.all()
    for first, last in ((0, 1), (1, 3), (3, 7)):
        part = prepared.fit(drawn.select(slice(first, last)))
        np.testing.assert_array_equal(part.estimate, whole.estimate[first:last])
        np.testing.assert_array_equal(part.loglik, whole.loglik[first:last])
        for kind in ("observed", "robust"):
            np.testing.assert_array_equal(part.se[kind], whole.se[kind][first:last])
        np.testing.assert_array_equal(part.measures["scaling_h0"], whole.measures["scaling_h0"][first:last])


# ---- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("se", ["observed", "robust"])
def test_likelihood_ratios_are_those_of_the_joint_likelihood(se) -> None:
    """x's part cancels, and so it does in the scaling of the difference."""
    without = CROSS.replace("s ~ w", "s ~ 0*w")
    given, joint = (
        likelihood_ratio_test(fitted(without, se=se, fixed_x=x), fitted(se=se, fixed_x=x)) for x in (True, False)
    )
    assert given.df == joint.df == 1
    assert given.statistic == pytest.approx(joint.statistic, rel=1e-5)  # scalings: one step before the last
    assert np.isnan(given.scaling) if se == "observed" else given.scaling == pytest.approx(joint.scaling, rel=1e-5)


def test_a_predictor_may_be_left_out_of_the_restricted_model() -> None:
    """As with lme4: the density of y given x and w, in which w has no effect, is that given x."""
    left_out = fitted("level: 1\n y ~ rv('s')*x + v\nlevel: 2\n y ~~ s\n", fixed_x=True)
    named = fitted(CROSS.replace("~ w", "~ 0*w"), fixed_x=True)
    assert left_out.likelihood.given == ("x", "v")
    tests = [likelihood_ratio_test(one, fitted(fixed_x=True)) for one in (left_out, named)]
    assert tests[0].df == tests[1].df == 2
    assert tests[0].statistic == pytest.approx(tests[1].statistic, abs=1e-7)


def test_likelihoods_of_different_kinds_are_not_compared() -> None:
    smaller = CROSS.replace("s ~ w", "s ~ 0*w")
    with pytest.raises(EstimatorError, match=r"of y given x, v and w; the other joint, of y, x, v and w.*same fixed_x"):
        likelihood_ratio_test(fitted(smaller, fixed_x=True), fitted())
    flat = "level: 1\n y ~ x\nlevel: 2\n y ~ w\n"
    with pytest.raises(EstimatorError, match="held at those of the unrestricted model"):
        likelihood_ratio_test(fitted(flat, fixed_x=True), fitted(flat.replace("y ~ x", "y ~ 0*x")))


def test_slopes_that_multiply_different_things_are_not_compared() -> None:
    latent = fitted(MEDIATION)
    observed = fitted(MEDIATION.replace("a ~~ b", "a ~~ 0*b"), slopes="observed")
    with pytest.raises(EstimatorError, match=r"'b' multiplies 'm' in another way in each .latent, observed."):
        likelihood_ratio_test(latent, observed)


def test_the_test_of_a_slopes_variance_is_the_same() -> None:
    given, joint = (slope_variance_test(fitted(fixed_x=x), "s") for x in (True, False))
    assert given.df == joint.df == (1, 2)
    assert given.statistic == pytest.approx(joint.statistic, abs=1e-7)
    assert given.loglik_random == fitted(fixed_x=True).loglik


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_every_summary_says_which_likelihood_it_is() -> None:
    given, joint, fixed = fitted(fixed_x=True), fitted(), fitted(slopes="fixed", text=CROSS.replace("s ~ w", "s ~ 1"))
    for one, says in ((given, "of y given x, v and w"), (joint, "joint, of y, x, v and w"), (fixed, "joint, of y")):
        assert one.likelihood.sentence.startswith(says)
        assert says in one.summary()
        assert says in one._repr_html_()
        assert one.to_dict()["likelihood_text"].startswith(says)
    assert "(given x, v and w)" in repr(given)
    hint = "takes x, v and w as given"
    assert [hint in one.summary() for one in (given, joint, fixed)] == [False, True, False]
    found = given.to_dict()
    keys = ("likelihood", "likelihood_of", "likelihood_given")
    assert [found[key] for key in keys] == ["given_x", ["y"], ["x", "v", "w"]]


def test_methods_beside_each_other_say_what_their_likelihoods_are_of() -> None:
    text = "level: 1\n y ~ m\nlevel: 2\n y ~ m\n"
    fits = simstudy.fit_all(text, rows(), cluster="g")
    kinds = {name: one.likelihood.kind for name, one in fits.items() if one.loglik == one.loglik}
    assert kinds == {
        "disaggregated": "rows", "disaggregated_robust": "rows", "aggregated": "cluster_means", "mlm": "restricted",
        "mlm_rescaled": "restricted", "mlm_centered": "restricted", "mlm_contextual": "restricted",
        "two_step": "restricted", "muml": "quasi", "multigroup": "within_clusters", "em": "joint",
        "fiml_wide": "joint", "msem": "joint",
    }  # fmt: skip
    shown = fits.summary()
    for one in fits.values():
        if one.loglik == one.loglik:
            assert one.likelihood.sentence.split(":")[0] in " ".join(shown.split())


@pytest.mark.parametrize("name", names())
def test_every_method_says_it_in_words(name) -> None:
    for text in (CROSS, MEDIATION, "level: 1\n y ~ x\nlevel: 2\n y ~ x + w\n"):
        model = TwoLevelModel.from_syntax(text)
        said, notes = ask.likelihood_of(ask.for_model(create(name), model), model)
        assert said.kind in KINDS
        assert notes == ()
        assert "{" not in said.sentence


def test_maximum_likelihood_of_regressions_is_that_of_msem_given_x() -> None:
    """lme4's model by both: the same number under the same words."""
    text = "level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ w\n y ~~ s\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mlm = simstudy.fit(text, rows(), cluster="g", estimator="mlm", options={"likelihood": "ml"})
    msem = fitted(text, fixed_x=True)
    assert mlm.likelihood == msem.likelihood
    assert mlm.loglik == pytest.approx(msem.loglik, abs=1e-7)  # two optimisers


DESIGN = """
[study]
name = "given"
replications = 6
seed = 4
[model]
syntax = '''
level: 1
 y ~ rv("s")*x
level: 2
 y ~ w
 s ~ gamma*1
 y ~~ s
'''
[population]
"between: y ~ w" = 0.3
gamma = 0.4
"between: y ~~ y" = 0.3
"between: s ~~ s" = 0.2
"within: y ~~ y" = 1.0
"within: x ~~ x" = 1.0
"between: w ~~ w" = 1.0
n_clusters = 40
cluster_size = 8
[estimators]
use = ["msem", "given"]
msem = { measures = true }
given = { estimator = "msem", fixed_x = true, measures = true, se = ["robust"] }
"""


def test_a_study_has_both_likelihoods_and_names_them(tmp_path) -> None:
    study = simstudy.run(DESIGN, out=tmp_path / "study", jobs=1, progress=False)
    shown = " ".join(study.summary().split())
    assert "log-likelihood (msem): joint, of y, x and w." in shown
    assert "log-likelihood (given): of y given x and w." in shown
    rows = study.to_frame().query("measure == 'bias' and parameter == 'gamma'")
    np.testing.assert_allclose(rows["value"], rows["value"].iloc[0], rtol=0, atol=1e-8)
    assert set(rows["estimator"]) == {"msem", "given"}


def test_constraints_of_what_is_modelled_go_with_given_variables() -> None:
    """The same maximum as of the joint likelihood, and one parameter fewer."""
    text = CROSS.replace("y ~ w", "y ~ a*w").replace("s ~ w", "s ~ b*w") + " a == b\n"
    given, joint = fitted(text, fixed_x=True), fitted(text)
    np.testing.assert_allclose(given.params, joint.params, rtol=0, atol=1e-7)  # two searches to 1e-10
    assert given.measures["npar"] == fitted(fixed_x=True).measures["npar"] - 1 == 8
    density = normal(rows()["x"], rows()["v"]) + normal(rows().groupby("g")["w"].first())
    assert joint.loglik - given.loglik == pytest.approx(density, abs=1e-7)
    test = likelihood_ratio_test(given, fitted(fixed_x=True))
    assert test.df == 1
    assert test.statistic == pytest.approx(likelihood_ratio_test(joint, fitted()).statistic, abs=1e-6)
