"""Derivatives of the Gaussian integral (`kernel`) with respect to what it depends on, and along parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simstudy.likelihood.slopes.kernel import Integral, Rows
from simstudy.linalg.stacked import FloatArray, IntArray, columns, transpose


def features(found: Integral) -> FloatArray:
    """Derivatives (R, O (r c + k^2 + 1) + f^2 + f, P) of every point's log-likelihood.

    With respect to, in this order: for each pattern, the first r rows of Phi (those of K in the full-matrix
    convention), Q and log|Sigma_W|; then cov (full-matrix convention) and mean.
    """
    n, points = found.mode.shape[0], found.mode.shape[-1]
    moment = -0.5 * (found.mode[:, :, None] * found.mode[:, None] + found.spread)
    parts = []
    for rows in found.rows:
        both = [moment * rows.among, found.mode[:, :, None] * rows.beside.swapaxes(1, 2)]
        parts += [
            np.concatenate(both, axis=2).reshape(n, -1, points),
            -0.5 * rows.products.reshape(n, -1, points),
            -0.5 * rows.sizes[:, None],
        ]
    outer = 0.5 * (found.pull[:, :, None] * found.pull[:, None] - found.weight)
    return np.concatenate([*parts, outer.reshape(n, -1, points), found.pull], axis=1)


def gradient(found: Integral, weights: FloatArray | None = None) -> FloatArray:
    """The weighted sum over points of `features` (R, d), without making them."""
    n, r, _ = found.mode.shape
    mode, spread, pull, weight = found.mode, found.spread, found.pull, found.weight
    if weights is not None:
        mode, pull = mode * weights[:, None], pull * weights[:, None]
        spread, weight = (x * weights[:, None, None] for x in (spread, weight))
    moment = mode[:, :, None] * found.mode[:, None] + spread
    parts = []
    for rows in found.rows:
        products = rows.products if weights is None else rows.products * weights[:, None, None]
        first = (moment * rows.among).sum(axis=-1)
        second = [np.matmul(mode[:, i, None], transpose(rows.beside[:, :, i])) for i in range(r)]
        parts += [
            np.concatenate([-0.5 * first, np.concatenate(second, axis=1)], axis=2).reshape(n, -1),
            -0.5 * products.sum(axis=-1).reshape(n, -1),
            -0.5 * products[:, 0, 0].sum(axis=-1)[:, None],
        ]
    outer = 0.5 * (np.matmul(pull, transpose(found.pull)) - weight.sum(axis=-1))
    return np.concatenate([*parts, outer.reshape(n, -1), pull.sum(axis=-1)], axis=1)


def blocks(found: Integral, *, complete: bool) -> list[slice]:
    """Coordinates that may be summed over together: with several patterns, those of each, and (cov, mean).

    A data set may lack patterns that others have, and must have the same bits without their zeros.
    """
    if complete:
        return [slice(None)]
    r, k = found.mode.shape[1], found.rows[0].products.shape[1]
    width = r * (r + k) + k * k + 1
    last = width * len(found.rows)
    return [*(slice(first, first + width) for first in range(0, last, width)), slice(last, None)]


def curvature(
    found: Integral, jacobian: FloatArray, inner: IntArray, *, complete: bool, weights: FloatArray | None = None
) -> FloatArray:
    """Second derivatives (R, q, q) of the weighted sum over points, where coordinates are linear in parameters.

    Parameters
    ----------
    found : Integral
    jacobian : (R, d, q)
        Derivatives of the coordinates of `features`.
    inner : int array
        Parameters that Phi depends on.
    complete : bool
        Of complete data coordinates are few, and second derivatives with respect to them come first. With several
        patterns they may be hundreds, and directions come first; which way is taken must not depend on the batch.
    weights : (R, P) or None
    """
    r, k = found.mode.shape[1], found.rows[0].products.shape[1]
    *patterns, last = blocks(found, complete=False)
    parts, outside = [jacobian[:, one][:, : r * (r + k)] for one in patterns], jacobian[:, last]
    if complete:
        j = np.concatenate([*parts, outside], axis=1)
        second = second_derivatives(found, weights)
    else:
        unit = np.eye(jacobian.shape[-1])[inner]
        j = np.concatenate([np.broadcast_to(unit, (len(outside), *unit.shape)), outside], axis=1)
        second = along(found, [columns(part, inner) for part in parts], weights)
    result: FloatArray = np.matmul(np.matmul(transpose(j), second), j)
    return result


def second_derivatives(found: Integral, weights: FloatArray | None = None) -> FloatArray:
    """Second derivatives (R, d, d) of the weighted sum over points, d = r c + f^2 + f: rows of Phi, cov, mean.

    Of one pattern.

    With alpha_a = db - dA u and beta_a = dm + dT g of two directions a and b,

        l_ab = alpha_a' C alpha_b + alpha_a' K' beta_b + beta_a' K alpha_b - beta_a' Q beta_b
               + tr(dA_a C dA_b C)/2 - tr(dT_a K dA_b K')/2 - tr(dA_a K' dT_b K)/2 + tr(dT_a Q dT_b Q)/2.

    Parameters
    ----------
    weights : (R, P) or None
    """
    n, r, points = found.mode.shape
    (rows,) = found.rows
    f, c, among = found.pull.shape[1], r + rows.beside.shape[1], rows.among
    load = loads(found, rows)
    bend = bends(found)
    spread, link = found.spread, found.link
    if weights is not None:
        spread, link = (x * weights[:, None, None] for x in (spread, link))
    inside = np.zeros((n, r, c, r, c))
    across = np.empty((n, r, c, f, f + 1))
    for i in range(r):
        weighted = load[:, i:] * spread[:, i, i:, None]
        block = np.matmul(load[:, i], transpose(weighted.reshape(n, -1, points))).reshape(n, c, r - i, c)
        inside[:, i, :, i:] = block
        inside[:, i:, :, i] = block.transpose(0, 2, 3, 1)
        weighted = load[:, i, None] * link[:, :, i, None]
        block = np.matmul(weighted.reshape(n, -1, points), transpose(bend)).reshape(n, f, c, f + 1)
        across[:, i] = block.transpose(0, 2, 1, 3)
    for i in range(r):
        for j in range(i, r):
            factor = 0.5 * found.spread[:, :, i, None] * spread[:, None, :, j] * (among * among[:, i, j, None, None])
            block = factor.sum(axis=-1)
            inside[:, :, :r, i, j] += transpose(block)
            if j > i:
                inside[:, :, :r, j, i] += block
            outer = np.matmul(link[:, :, i] * among[:, i, j, None], transpose(found.link[:, :, j]))
            outer *= -0.5
            across[:, i, j, :, :f] += transpose(outer)
            if j > i:
                across[:, j, i, :, :f] += outer
    return assemble(
        inside.reshape(n, r * c, r * c), across.reshape(n, r * c, f, f + 1), between_elements(found, bend, weights)
    )


def loads(found: Integral, rows: Rows) -> FloatArray:
    """How b - A u moves (R, r, c, P) with each row of Phi of a pattern."""
    return np.concatenate([-found.mode[:, None] * rows.among, rows.beside.swapaxes(1, 2)], axis=2)


def bends(found: Integral) -> FloatArray:
    """How cov g + mean moves (R, f + 1, P) with each row of (cov, mean)."""
    n, _, points = found.mode.shape
    return np.concatenate([found.pull, np.ones((n, 1, points))], axis=1)


def between_elements(found: Integral, bend: FloatArray, weights: FloatArray | None) -> FloatArray:
    """The block of (cov, mean), row by row (R, f, f + 1, f, f + 1)."""
    f = found.pull.shape[1]
    (row, column), at = np.triu_indices(f), _place_of_pairs(f)
    (one, other), upper = np.triu_indices(f + 1), _place_of_pairs(f + 1)
    plain = found.weight[:, row, column]
    weight = plain if weights is None else plain * weights[:, None]
    sums = np.matmul(weight, transpose(bend[:, one] * bend[:, other]))
    between: FloatArray = -sums[:, at[:, None, :, None], upper[:, None]]  # (R, f, f + 1, f, f + 1)
    gram = np.matmul(weight, transpose(plain))
    between[:, :, :f, :, :f] += 0.5 * gram[:, at[None, :, :, None], at[:, None, None]]
    return between


def _place_of_pairs(m: int) -> IntArray:
    """Where entries (m, m) of a symmetric matrix stand in its upper triangle, row by row."""
    place = np.zeros((m, m), dtype=np.int64)
    row, column = np.triu_indices(m)
    place[row, column] = place[column, row] = np.arange(len(row))
    return place


def assemble(inside: FloatArray, across: FloatArray, between: FloatArray) -> FloatArray:
    """Put (cov row by row, mean) of the between coordinates into the order cov, mean."""
    n, w = inside.shape[:2]
    f = across.shape[2]
    across = np.concatenate([across[..., :f].reshape(n, w, f * f), across[..., f]], axis=-1)
    cov, mean = between[:, :, :f], between[:, :, f]
    parts = [
        [inside, across],
        [
            transpose(across),
            np.concatenate(
                [
                    np.concatenate([x[..., :f].reshape(n, -1, f * f), x[..., f].reshape(n, -1, f)], axis=-1)
                    for x in (cov.reshape(n, f * f, f, f + 1), mean)
                ],
                axis=1,
            ),
        ],
    ]
    return np.concatenate([np.concatenate(row, axis=-1) for row in parts], axis=1)


def along(found: Integral, directions: Sequence[FloatArray], weights: FloatArray | None = None) -> FloatArray:
    """As `second_derivatives`, of several patterns, with q directions in place of rows of Phi (R, d, d): q + f^2 + f.

    Parameters
    ----------
    directions : sequence of (R, r c, q)
        Derivatives of the rows of every pattern's Phi.
    """
    n, r, points = found.mode.shape
    f, q = found.pull.shape[1], directions[0].shape[-1]
    alpha, d_a = np.zeros((n, r, q, points)), np.zeros((n, q, r, r, points))  # db - dA u, and dA
    for rows, flat in zip(found.rows, directions, strict=True):
        turned = np.ascontiguousarray(flat.reshape(n, r, flat.shape[1] // r, q).swapaxes(-1, -2))  # (R, r, q, c)
        alpha += np.matmul(turned, loads(found, rows))
        d_a += np.ascontiguousarray(turned[..., :r].swapaxes(1, 2))[..., None] * rows.among[:, None]
    bend, one = bends(found), np.ones((n, points)) if weights is None else weights
    solved = np.zeros_like(alpha)  # C alpha
    turned_a = np.zeros_like(d_a)  # dA C
    linked = np.zeros((n, f, q, points))  # K alpha
    for i in range(r):
        solved += found.spread[:, :, i, None] * alpha[:, i, None]
        turned_a += d_a[:, :, :, i, None] * found.spread[:, None, None, i]
        linked += found.link[:, :, i, None] * alpha[:, i, None]

    def flat_products(x: FloatArray, y: FloatArray) -> FloatArray:
        """Sums (R, q, q) over all but the second axis of (R, q, ..., P), weighted."""
        flat = (n, q, math.prod(x.shape[2:]))
        left = (x * one.reshape(n, *[1] * (x.ndim - 2), points)).reshape(flat)
        sums: FloatArray = np.matmul(left, transpose(y.reshape(flat)))
        return sums

    inside = flat_products(np.ascontiguousarray(alpha.swapaxes(1, 2)), np.ascontiguousarray(solved.swapaxes(1, 2)))
    inside += 0.5 * flat_products(turned_a, np.ascontiguousarray(turned_a.swapaxes(2, 3)))
    linked *= one[:, None, None]
    block = np.matmul(linked.reshape(n, f * q, points), transpose(bend)).reshape(n, f, q, f + 1)
    across = np.ascontiguousarray(block.swapaxes(1, 2))
    for i in range(r):
        for j in range(r):
            pairs = found.link[:, :, j, None] * found.link[:, None, :, i]
            moved = np.matmul(d_a[:, :, i, j] * one[:, None], transpose(pairs.reshape(n, f * f, points)))
            across[..., :f] -= 0.5 * moved.reshape(n, q, f, f)
    return assemble(inside, across, between_elements(found, bend, weights))
