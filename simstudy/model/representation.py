"""Parameter vector (..., q) <-> matrices of a level, and the LISREL view of them.

The engine works with the reticular form: over all variables v of a level (observed, then latent), paths A (regressions
and loadings), residual covariances S and intercepts m give E = (I - A)^-1,

    mu = F E m,    Sigma = F E S E' F',

where F picks the observed variables (McArdle & McDonald 1984). `lisrel_matrices` shows the same numbers as nu, Lambda,
K, alpha, B, Gamma, Psi, Theta (Muthen & Asparouhov 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.linalg.stacked import FloatArray, IntArray, matvec
from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class Entries:
    """Free entries of one matrix: row, column and index of the free parameter, each (k,)."""

    row: IntArray
    column: IntArray
    free: IntArray


@dataclass(frozen=True)
class LevelMatrices:
    """Index maps of one level.

    Attributes
    ----------
    variables : tuple of str
        Observed and then latent variables (v).
    n_observed : int
        p_l, the number of observed ones.
    positions : (p_l,)
        Where they stand in ``model.variables``.
    base_paths, base_covariances, base_means : (v, v), (v, v), (v,)
        Fixed values.
    paths, covariances, means : Entries
        Free entries; covariances once a pair; means have column 0.
    """

    variables: tuple[str, ...]
    n_observed: int
    positions: IntArray
    base_paths: FloatArray
    base_covariances: FloatArray
    base_means: FloatArray
    paths: Entries
    covariances: Entries
    means: Entries


@dataclass(frozen=True)
class Filled:
    """Matrices of one level at parameter values: paths A, covariances S (..., v, v), intercepts m (..., v)."""

    paths: FloatArray
    covariances: FloatArray
    means: FloatArray


def level_matrices(
    model: TwoLevelModel, level: str, order: Sequence[str] | None = None, seen: Sequence[str] = ()
) -> LevelMatrices:
    """Index maps of a level of a model; positions refer to ``order``, by default ``model.variables``.

    Latent variables in ``seen`` stand among the observed ones: their moments are wanted too.
    """
    order = list(order or model.variables)
    observed = tuple(sorted([*model.observed(level), *seen], key=order.index))
    variables = observed + tuple(name for name in model.latents(level) if name not in seen)
    at = {name: i for i, name in enumerate(variables)}
    v = len(variables)
    base_paths, base_covariances, base_means = np.zeros((v, v)), np.zeros((v, v)), np.zeros(v)
    paths: list[tuple[int, int, int]] = []
    covariances: list[tuple[int, int, int]] = []
    means: list[tuple[int, int, int]] = []

    def address(row: Parameter) -> tuple[int, int]:
        if row.op == "=~":
            return at[row.rhs], at[row.lhs]
        return at[row.lhs], at[row.rhs] if row.rhs else 0

    for row in model.table.at(level):
        i, j = address(row)
        if row.op in ("=~", "~"):
            if row.free >= 0:
                paths.append((i, j, row.free))
            else:
                base_paths[i, j] = row.value
        elif row.op == "~~":
            if row.free >= 0:
                covariances.append((i, j, row.free))
            else:
                base_covariances[i, j] = base_covariances[j, i] = row.value
        elif row.free >= 0:
            means.append((i, 0, row.free))
        else:
            base_means[i] = row.value

    def entries(found: list[tuple[int, int, int]]) -> Entries:
        table = np.array(found, dtype=np.int64).reshape(-1, 3)
        return Entries(table[:, 0], table[:, 1], table[:, 2])

    positions = np.array([order.index(name) for name in observed], dtype=np.int64)
    return LevelMatrices(
        variables, len(observed), positions, base_paths, base_covariances, base_means,
        entries(paths), entries(covariances), entries(means),
    )  # fmt: skip


def fill(maps: LevelMatrices, params: FloatArray) -> Filled:
    """Matrices of a level at free parameters (..., q), real or complex."""
    shape, v = params.shape[:-1], len(maps.variables)
    paths = np.broadcast_to(maps.base_paths, (*shape, v, v)).astype(params.dtype, order="C")
    covariances = np.broadcast_to(maps.base_covariances, (*shape, v, v)).astype(params.dtype, order="C")
    means = np.broadcast_to(maps.base_means, (*shape, v)).astype(params.dtype, order="C")
    paths[..., maps.paths.row, maps.paths.column] = params[..., maps.paths.free]
    values = params[..., maps.covariances.free]
    covariances[..., maps.covariances.row, maps.covariances.column] = values
    covariances[..., maps.covariances.column, maps.covariances.row] = values
    means[..., maps.means.row] = params[..., maps.means.free]
    return Filled(paths, covariances, means)


@dataclass(frozen=True)
class LisrelMatrices:
    """LISREL matrices of one level (Muthen & Asparouhov 2008), for inspection.

    y are observed variables, x exogenous observed variables, eta the latent variables: factors, and every observed
    variable that has an equation or predicts one (for it, y = eta without error).

    Attributes
    ----------
    y, x, eta : tuple of str
    nu (..., y), lam (..., y, eta), kappa (..., y, x), theta (..., y, y)
        Measurement: y = nu + lam eta + kappa x + epsilon.
    alpha (..., eta), beta (..., eta, eta), gamma (..., eta, x), psi (..., eta, eta)
        Structure: eta = alpha + beta eta + gamma x + zeta.
    mu_x (..., x), sigma_x (..., x, x)
        Moments of x, which are part of the likelihood (theory F1).
    """

    y: tuple[str, ...]
    x: tuple[str, ...]
    eta: tuple[str, ...]
    nu: FloatArray
    lam: FloatArray
    kappa: FloatArray
    theta: FloatArray
    alpha: FloatArray
    beta: FloatArray
    gamma: FloatArray
    psi: FloatArray
    mu_x: FloatArray
    sigma_x: FloatArray


def lisrel_matrices(model: TwoLevelModel, level: str, params: FloatArray) -> LisrelMatrices:
    """LISREL matrices of a level at free parameters (..., q)."""
    maps = level_matrices(model, level)
    filled = fill(maps, params)
    rows = model.table.at(level)
    factors = model.latents(level)
    observed = maps.variables[: maps.n_observed]
    targets = {row.lhs for row in rows if row.op == "~"} | {row.rhs for row in rows if row.op == "=~"}
    linked = {row.rhs for row in rows if row.op == "~~" and row.lhs != row.rhs and row.lhs in (targets | set(factors))}
    linked |= {row.lhs for row in rows if row.op == "~~" and row.lhs != row.rhs and row.rhs in (targets | set(factors))}
    x = tuple(name for name in observed if name not in targets and name not in linked)
    y = tuple(name for name in observed if name not in x)
    indicators = {row.rhs for row in rows if row.op == "=~"}
    structural = {name for row in rows if row.op == "~" for name in (row.lhs, row.rhs)}
    raised = tuple(name for name in y if name in structural or name not in indicators)
    eta = factors + raised
    at = {name: i for i, name in enumerate(maps.variables)}
    ix, iy, ie = ([at[name] for name in names] for names in (x, y, eta))

    def block(a: FloatArray, i: list[int], j: list[int]) -> FloatArray:
        return a[..., np.array(i, dtype=int)[:, None], np.array(j, dtype=int)]

    lam, kappa = block(filled.paths, iy, ie), block(filled.paths, iy, ix)
    theta, nu = block(filled.covariances, iy, iy), filled.means[..., iy]
    for k, name in enumerate(y):
        if name in raised:
            lam[..., k, :] = 0.0
            lam[..., k, eta.index(name)] = 1.0
            kappa[..., k, :] = 0.0
            theta[..., k, :] = theta[..., :, k] = 0.0
            nu[..., k] = 0.0
    return LisrelMatrices(
        y=y,
        x=x,
        eta=eta,
        nu=nu,
        lam=lam,
        kappa=kappa,
        theta=theta,
        alpha=filled.means[..., ie],
        beta=block(filled.paths, ie, ie),
        gamma=block(filled.paths, ie, ix),
        psi=block(filled.covariances, ie, ie),
        mu_x=filled.means[..., ix],
        sigma_x=block(filled.covariances, ix, ix),
    )


def lisrel_moments(matrices: LisrelMatrices) -> tuple[FloatArray, FloatArray]:
    """Mean (..., y + x) and covariance (..., y + x, y + x) implied by LISREL matrices, y first."""
    m = matrices
    total = np.linalg.inv(np.eye(len(m.eta)) - m.beta)
    slope = m.kappa + m.lam @ total @ m.gamma
    mean_y = m.nu + matvec(m.lam @ total, m.alpha) + matvec(slope, m.mu_x)
    cov_eta = total @ m.psi @ total.swapaxes(-1, -2)
    cov_yx = slope @ m.sigma_x
    cov_yy = m.lam @ cov_eta @ m.lam.swapaxes(-1, -2) + m.theta + cov_yx @ slope.swapaxes(-1, -2)
    top = np.concatenate([cov_yy, cov_yx], axis=-1)
    bottom = np.concatenate([cov_yx.swapaxes(-1, -2), m.sigma_x], axis=-1)
    return np.concatenate([mean_y, m.mu_x], axis=-1), np.concatenate([top, bottom], axis=-2)
