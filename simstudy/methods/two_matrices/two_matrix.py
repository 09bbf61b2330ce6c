"""What `schmidt`, `haernqvist` and `goldstein` share: a within and a between covariance matrix, fitted as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.estimation.constrained import Holding, solve_model
from simstudy.estimation.engine import Engine, FirstStep, two_group_engine
from simstudy.estimation.fit_measures import Solved, baseline_model, fit_measures
from simstudy.estimation.result import FitResult, Status
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.likelihood.normal import two_group
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, inverse_spd, submatrix
from simstudy.methods.checks import admissible
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

# Two matrices are no likelihood of the rows: what is computed from one would not compare with other methods.
_LIKELIHOODS = ("loglik", "unrestricted_loglik", "aic", "bic")


@dataclass(frozen=True)
class TwoMatrices:
    """Matrices of R data sets, in the order of the model's variables.

    Attributes
    ----------
    mean : (R, p)
    within : (R, p1, p1)
    between : (R, p, p)
    means_cov : (R, p, p) or None
        Covariance matrix that n_between units have whose mean ``mean`` is; ``between`` where None.
    """

    mean: FloatArray
    within: FloatArray
    between: FloatArray
    means_cov: FloatArray | None = None


class TwoMatrixFitter:
    """Fits a model to two matrices, each taken for the covariance matrix of so many independent units.

    Without parameters of both levels these are two analyses; with them a two-group one.

    Parameters
    ----------
    model : TwoLevelModel
    n_within, n_between : int
        Units of each matrix.
    kinds : tuple of str
        SE kinds: ``expected``, ``observed``; ``robust`` where the first step is known.
    measures : bool
        Whether to compute fit measures: chi-squares are the sum over both matrices.
    """

    def __init__(
        self, model: TwoLevelModel, n_within: int, n_between: int, *, kinds: tuple[str, ...], measures: bool
    ) -> None:
        self.model, self.kinds = model, kinds
        self.sizes = n_within, n_between
        self.structure = TwoLevelStructure(model)
        self.unrestricted = TwoLevelStructure(unrestricted_model(model)) if measures else None
        self.baseline = TwoLevelStructure(baseline_model(model)) if measures else None
        self.holding = Holding.of(model, {})
        at = self.structure.between.positions
        self.at: IntArray = at
        self.only = np.array([k for k in range(self.structure.p1) if k not in at], dtype=np.int64)

    def fit(self, matrices: TwoMatrices, first: FirstStep | None = None) -> FitResult:
        """Fit R pairs of matrices; where one is not positive definite there is nothing to fit (NON_PD).

        ``first`` is the step that estimated them, for robust SEs and chi-squares.
        """
        data, ok = self._data(matrices)

        def build(structure: TwoLevelStructure) -> Engine:
            return two_group_engine(structure, data, self.sizes, first)

        engine = build(self.structure)
        solved, expand = solve_model(self.structure, engine, self.holding, None, ())
        best = solved.best
        found = {kind: expand(_covariance(kind, solved)) for kind in self.kinds}
        measures: dict[str, FloatArray] = {}
        if self.unrestricted is not None and self.baseline is not None:
            h1, baseline = build(self.unrestricted), build(self.baseline)
            measures = fit_measures(
                solved,
                Solved(self.unrestricted, h1, h1.solve(), self.unrestricted.q),
                Solved(self.baseline, baseline, baseline.solve(), self.baseline.q),
                n_obs=sum(self.sizes),
                scaled="robust" in self.kinds,
            )
            measures |= {name: np.full(len(ok), np.nan) for name in _LIKELIHOODS}
        result = FitResult(
            labels=self.model.names,
            estimate=solved.params,
            covariance=found,
            status=np.where(ok, best.status, int(Status.NON_PD)),
            admissible=admissible(self.structure, solved.params),
            n_iter=np.where(ok, best.n_iter, 0),
            loglik=np.full(len(ok), np.nan),
            measures=measures,
        )
        return result.blank_failures()

    def _data(self, matrices: TwoMatrices) -> tuple[two_group.Data, BoolArray]:
        """Data for the likelihood, and which can be fitted (R,); the others are replaced by identity matrices."""
        at, only = self.at, self.only
        eye_within, eye_between = np.eye(self.structure.p1), np.eye(len(at))
        between = submatrix(matrices.between, at, at)
        means = between if matrices.means_cov is None else submatrix(matrices.means_cov, at, at)
        ok = _positive_definite(matrices.within) & _positive_definite(between) & _positive_definite(means)
        ok &= np.isfinite(matrices.mean).all(axis=-1)
        within = np.where(ok[:, None, None], matrices.within, eye_within)
        between = np.where(ok[:, None, None], between, eye_between)
        means = np.where(ok[:, None, None], means, eye_between)
        p = matrices.mean.shape[-1]
        full, precision = np.zeros((len(ok), p, p)), np.zeros((len(ok), p, p))
        full[:, at[:, None], at] = between
        precision[:, at[:, None], at] = inverse_spd(means)[0] * self.sizes[1]
        if len(only):
            precision[:, only[:, None], only] = inverse_spd(submatrix(within, only, only))[0] * self.sizes[0]
        mean = np.where(ok[:, None], matrices.mean, 0.0)
        return two_group.Data(within, full, mean, precision), ok


def _covariance(kind: str, solved: Solved) -> FloatArray:
    if kind == "expected":
        return solved.best.inverse
    return solved.inverse_observed if kind == "observed" else solved.robust[0]


def _positive_definite(matrix: FloatArray) -> BoolArray:
    return inverse_spd(matrix)[1]


def with_first_step(result: FitResult, status: IntArray, n_iter: IntArray) -> FitResult:
    """A second step's result where the first step converged, and the first step's status where it did not."""
    ok = status == int(Status.OK)
    found = replace(result, status=np.where(ok, result.status, status), n_iter=result.n_iter + n_iter)
    return found.blank_failures()
