"""Fleishman's (1978) polynomials of normal variables, and Vale and Maurelli's (1983) correlations between them.

x = -c + b z + c z^2 + d z^3 with z standard normal has mean 0; b, c, d are chosen such that it has variance 1 and the
skewness and the kurtosis asked for. Several polynomials may (British Journal of Mathematical and Statistical Psychology
2021, doi 10.1111/bmsp.12259); the one used here is connected with the normal distribution, b = 1, c = d = 0, by a path
along which the moments grow in proportion. It was found wherever a search from random starts found any.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simstudy.errors import DesignError
from simstudy.linalg.stacked import FloatArray, inverse

_SMALLEST_STEP = 1e-7
_SOLVED = 1e-12


Polynomial = tuple[float, float, float]
"""Coefficients b, c, d."""

NORMAL: Polynomial = (1.0, 0.0, 0.0)


def fleishman(skewness: float, kurtosis: float) -> Polynomial:
    """Coefficients b, c, d of the polynomial of this skewness and excess kurtosis.

    Raises
    ------
    DesignError
        If there is none, with the least kurtosis that this skewness allows.
    """
    found = _solve(skewness, kurtosis)
    if isinstance(found, str):
        raise DesignError(found)
    return found


def bound(skewness: float) -> float:
    """Least excess kurtosis that a polynomial of this skewness can have, about: the usual approximation."""
    return -1.1514 + 1.58837 * skewness**2


@lru_cache(maxsize=4096)
def _solve(skewness: float, kurtosis: float) -> Polynomial | str:
    """The polynomial, or why there is none."""
    found = _continued(skewness, kurtosis)
    if found is not None:
        return found
    text = f"no polynomial of a normal variable has skewness {skewness:g} and excess kurtosis {kurtosis:g}"
    rule = f"kurtosis >= -1.1514 + 1.58837 skewness^2 = {bound(skewness):.4g}"
    least = _least(skewness, kurtosis)
    if least is not None:
        return f"{text}; with this skewness, the kurtosis must be at least {least:.6g} (about: {rule})"
    return f"{text}: the equations of its coefficients could not be solved (needed, about: {rule})"


def _least(skewness: float, kurtosis: float) -> float | None:
    """Least kurtosis of a polynomial of this skewness, rounded up to four decimals."""
    low, high = kurtosis, max(bound(skewness), kurtosis) + 1.0 + skewness**2
    if _continued(skewness, high) is None:
        return None
    while high - low > 1e-5:
        middle = (low + high) / 2.0
        low, high = (middle, high) if _continued(skewness, middle) is None else (low, middle)
    return float(np.ceil(high * 1e4) / 1e4)


def _continued(skewness: float, kurtosis: float) -> Polynomial | None:
    """Follow the solution from the normal distribution, by Newton's method in steps of adaptive length."""
    x, done, step = np.array([1.0, 0.0, 0.0]), 0.0, 0.25
    while done < 1.0:
        step = min(step, 1.0 - done)
        share = done + step
        trial = _newton(x, np.array([1.0, share * skewness, share * kurtosis]))
        if trial is not None and np.abs(trial - x).max() < 0.3:
            x, done, step = trial, share, 2.0 * step
        else:
            step /= 2.0
            if step < _SMALLEST_STEP:
                return None
    return float(x[0]), float(x[1]), float(x[2])


def _newton(x: FloatArray, wanted: FloatArray) -> FloatArray | None:
    for _ in range(25):
        moments, jacobian = _moments(x)
        gap = moments - wanted
        if np.abs(gap).max() <= 1e-14 * max(1.0, float(np.abs(wanted).max())):
            return x
        half, ok = inverse(jacobian)
        if not ok:
            return None
        x = x - half @ gap
        if not np.abs(x).max() < 10.0:
            return None
    return x if np.abs(_moments(x)[0] - wanted).max() <= _SOLVED * max(1.0, float(np.abs(wanted).max())) else None


def _moments(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variance, third and excess fourth moment (Fleishman 1978, equations 11, 17 and 18) and their derivatives."""
    b, c, d = x.tolist()
    bb, bd, cc, dd = b * b, b * d, c * c, d * d
    moments = [
        bb + 6 * bd + 2 * cc + 15 * dd,
        2 * c * (bb + 24 * bd + 105 * dd + 2),
        24 * (bd + cc * (1 + bb + 28 * bd) + dd * (12 + 48 * bd + 141 * cc + 225 * dd)),
    ]
    jacobian = [
        [2 * b + 6 * d, 4 * c, 6 * b + 30 * d],
        [2 * c * (2 * b + 24 * d), 2 * (bb + 24 * bd + 105 * dd + 2), 2 * c * (24 * b + 210 * d)],
        [
            24 * (d + cc * (2 * b + 28 * d) + 48 * d * dd),
            24 * 2 * c * (1 + bb + 28 * bd + 141 * dd),
            24 * (b + 28 * b * cc + 24 * d + 144 * b * dd + 282 * cc * d + 900 * d * dd),
        ],
    ]
    return np.array(moments), np.array(jacobian)


def correlation(first: Polynomial, second: Polynomial, rho: float) -> float:
    """Correlation of two polynomials of normals that correlate ``rho`` (Vale & Maurelli 1983, equation 11)."""
    linear, square, cube = _terms(first, second)
    return rho * (linear + rho * (square + rho * cube))


def _terms(first: Polynomial, second: Polynomial) -> tuple[float, float, float]:
    (b1, c1, d1), (b2, c2, d2) = first, second
    return (b1 + 3 * d1) * (b2 + 3 * d2), 2 * c1 * c2, 6 * d1 * d2


def intermediate(first: Polynomial, second: Polynomial, wanted: float) -> float | None:
    """Correlation of the normals that gives the polynomials the correlation ``wanted``; None where none does.

    Of several, the one that is reached first from 0, on the side on which the correlation begins to grow towards
    ``wanted``.
    """
    if wanted == 0.0:
        return 0.0
    linear, square, cube = _terms(first, second)
    roots = np.roots([cube, square, linear, -wanted])
    real = roots.real[(np.abs(roots.imag) < 1e-6) & (np.abs(roots.real) <= 1.0 + 1e-6)].tolist()
    side = 1.0 if wanted * linear > 0.0 else -1.0
    for rho in sorted(real, key=lambda root: (root * side < 0.0, abs(root))):
        found = float(rho)
        for _ in range(4):  # to the last digits
            slope = linear + found * (2 * square + found * 3 * cube)
            found -= (correlation(first, second, found) - wanted) / slope if abs(slope) > 1e-6 else 0.0
        found = min(max(found, -1.0), 1.0)
        if abs(correlation(first, second, found) - wanted) <= 1e-9:
            return found
    return None


def possible(first: Polynomial, second: Polynomial) -> tuple[float, float]:
    """Least and largest correlation of two polynomials."""
    values = [correlation(first, second, rho) for rho in np.linspace(-1.0, 1.0, 2001).tolist()]
    return min(values), max(values)
