"""Distributions of a population: normal or not, at each level separately.

Rows are y_ij = mu + b_j + w_ij with cluster vectors (b_j, z_j) of covariance Sigma_B and deviations w_ij of covariance
Sigma_W, whatever the distribution: it changes higher moments alone, so that parameters keep their meaning and their
values.

- ``normal``.
- ``vale_maurelli``: each variable is a polynomial of a normal one, with the skewness and the excess kurtosis asked for
  (Fleishman 1978); the normal variables correlate such that all covariances are exact (Vale & Maurelli 1983).
- ``t``: multivariate t, scaled to the covariances. Every variable has the excess kurtosis 6 / (df - 4). One chi-square
  stands behind each row, or (``per = "cluster"``) behind all rows of a cluster: clusters then differ in their within
  variances, with heavier tails over all clusters than one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simstudy.errors import DesignError
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray
from simstudy.population.fleishman import NORMAL, Polynomial, fleishman, intermediate, possible

Kind = Literal["normal", "vale_maurelli", "t"]
Unit = Literal["row", "cluster"]


@dataclass(frozen=True)
class LevelDistribution:
    """Distribution of the deviations of one level.

    Attributes
    ----------
    kind : str
        ``normal``, ``vale_maurelli`` or ``t``.
    marginals : tuple of (str, float, float)
        Variable, skewness and excess kurtosis, by name; variables not named have 0 and 0.
    df : float
        Degrees of freedom of a t distribution.
    per : str
        What has a chi-square of its own: ``row`` or ``cluster``.
    """

    kind: Kind = "normal"
    marginals: tuple[tuple[str, float, float], ...] = ()
    df: float = math.inf
    per: Unit = "row"

    @classmethod
    def vale_maurelli(cls, skewness: Mapping[str, float], kurtosis: Mapping[str, float]) -> LevelDistribution:
        """Skewness and excess kurtosis by variable, 0 where not named; normal where all are 0."""
        names = sorted(set(skewness) | set(kurtosis))
        found = [(name, float(skewness.get(name, 0.0)), float(kurtosis.get(name, 0.0))) for name in names]
        marginals = tuple(entry for entry in found if entry[1:] != (0.0, 0.0))
        return cls("vale_maurelli", marginals) if marginals else cls()

    @classmethod
    def t(cls, df: float, per: Unit = "row") -> LevelDistribution:
        """Multivariate t; infinitely many degrees of freedom are the normal distribution.

        Raises
        ------
        DesignError
            Unless df > 4: the kurtosis, and with it every standard error, would not be finite.
        """
        if not df > 4.0:
            raise DesignError(f"df: found {df:g}; allowed: above 4, where the kurtosis is 6 / (df - 4)")
        return cls("t", df=float(df), per=per) if math.isfinite(df) else cls()

    def shape(self, names: Sequence[str], sigma: FloatArray, what: str) -> Shape:
        """How standard normals become deviations with covariance ``sigma`` (p, p) of the variables ``names``.

        Raises
        ------
        DesignError
            If no distribution of this kind has these moments.
        """
        if self.kind != "vale_maurelli":
            return Shape(psd_factor(sigma), None, self.df, self.per)
        marginals = {name: moments for name, *moments in self.marginals}
        polynomials, problems = [], []
        for name in names:
            try:
                polynomials.append(fleishman(*marginals[name]) if name in marginals else NORMAL)
            except DesignError as error:
                problems += [f"{what} part of '{name}': {problem}" for problem in error.problems]
        if problems:
            raise DesignError(problems)
        scale = np.sqrt(np.diagonal(sigma))
        factor = psd_factor(_intermediate(names, sigma, scale, polynomials, what))
        return Shape(factor, np.array(polynomials) * scale[:, None])


NORMAL_LEVEL = LevelDistribution()


@dataclass(frozen=True)
class Distribution:
    """Distribution of a population.

    Attributes
    ----------
    within, between : LevelDistribution
        Of the deviations w_ij of rows, and of the cluster vectors (b_j, z_j).
    """

    within: LevelDistribution = NORMAL_LEVEL
    between: LevelDistribution = NORMAL_LEVEL

    @property
    def normal(self) -> bool:
        """Whether everything is normal."""
        return self.within.kind == self.between.kind == "normal"


NORMAL_POPULATION = Distribution()


@dataclass(frozen=True)
class Shape:
    """From standard normals to the deviations of a level.

    Attributes
    ----------
    factor : (p, p)
        Lower triangular; of Sigma, or of the correlations of the normals behind the polynomials.
    polynomials : (p, 3) or None
        b, c, d of every variable, times its standard deviation.
    df : float
        Of the chi-squares by which normals are divided; infinite where there are none.
    per : str
        What has a chi-square of its own.
    """

    factor: FloatArray
    polynomials: FloatArray | None = None
    df: float = math.inf
    per: Unit = "row"

    def apply(self, normals: FloatArray, squares: FloatArray | None) -> FloatArray:
        """Deviations (R, p, n) from independent standard normals (R, p, n) and chi-squares (R, n).

        Elementwise only: no bit depends on the batch, nor on a linear algebra library.
        """
        result = np.empty_like(normals)
        for k, row in enumerate(self.factor):
            total = row[0] * normals[:, 0]
            for m in range(1, k + 1):
                if row[m] != 0.0:
                    total += row[m] * normals[:, m]
            if self.polynomials is not None:
                b, c, d = self.polynomials[k].tolist()
                total = (total * d + c) * total * total + total * b - c
            result[:, k] = total
        if squares is not None:  # t with covariance Sigma: variance df / (df - 2) taken out
            result *= np.sqrt((self.df - 2.0) / squares)[:, None]
        return result


def _intermediate(
    names: Sequence[str], sigma: FloatArray, scale: FloatArray, polynomials: Sequence[Polynomial], what: str
) -> FloatArray:
    """Correlations of the normals (p, p); 0 for variables without variance."""
    p = len(names)
    found = np.eye(p)
    problems = []
    for i in range(p):
        for j in range(i):
            if scale[i] == 0.0 or scale[j] == 0.0 or sigma[i, j] == 0.0:
                continue
            wanted = sigma[i, j] / (scale[i] * scale[j])
            rho = intermediate(polynomials[i], polynomials[j], wanted)
            if rho is None:
                low, high = possible(polynomials[i], polynomials[j])
                problems.append(
                    f"{what} parts of '{names[j]}' and '{names[i]}' correlate {wanted:.4g}, but with this skewness and "
                    f"kurtosis they can correlate {low:.4g} to {high:.4g} only"
                )
            else:
                found[i, j] = found[j, i] = rho
    if problems:
        raise DesignError(problems)
    factor = psd_factor(found)
    if np.abs(factor @ factor.T - found).max() > 1e-8:
        text = "the correlations of the normal variables behind them are not positive definite; make skewness, kurtosis"
        raise DesignError(f"{what} parts of {', '.join(names)}: {text} or correlations smaller")
    return found
