"""Index arrays of a model with random slopes, and the moments that it implies.

With products written as covariates, the rows of cluster j are (Muthen & Asparouhov 2008; theory D1.1)

    v_ij = v_Bj + mu_W + sum_k s_kj g_k x^k_ij + e_ij,    e_ij ~ N(0, Sigma_W),

where mu_W and Sigma_W are the within level's moments without the random slopes' paths, g_k is the column of
E = (I - A)^-1 that belongs to the outcome of slope k, and x^k is its predictor: as observed, or its deviation from the
cluster's latent mean. Slopes and random intercepts, u_j = (v_Bj, s_j), are variables of the between level like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from simstudy.errors import ModelError
from simstudy.linalg.stacked import FloatArray, IntArray, eigh, inverse
from simstudy.model.implied import LevelStructure
from simstudy.model.representation import Entries, LevelMatrices, level_matrices
from simstudy.model.twolevel import TwoLevelModel

Meaning = Literal["latent", "observed"]


class SlopeStructure:
    """Index arrays of both levels of a model with random slopes.

    Parameters
    ----------
    given : tuple of str
        Slopes that are taken as known (theory D1.8, the conditioning set). They stand among the level-2 variables,
        after the observed ones, and are paths of the within level whose values are further, last parameters.

    Attributes
    ----------
    within, between : LevelStructure
        The between level's observed variables are u (see above), then the level-2 variables z.
    p1, p2, q : int
        Level-1 variables, level-2 variables (and given slopes), free parameters (and values of given slopes).
    r : int
        Length of u: b variables that stand in both blocks, then K slopes.
    both : (b,)
        Places of the former among the level-1 variables.
    outcome, predictor : (K,)
        Places of each slope's outcome and predictor among the variables of the within level: level-1 variables, then
        factors.
    """

    def __init__(self, model: TwoLevelModel, given: Sequence[str] = ()) -> None:
        if not model.slopes:
            raise ModelError("the model has no random slope")
        self.model, self.given = model, tuple(given)
        slopes = [slope for slope in model.slopes if slope.name not in self.given]
        names = tuple(slope.name for slope in slopes)
        order = model.level1 + names + model.level2 + self.given
        self.within = LevelStructure(_with_paths(level_matrices(model, "within"), model, self.given))
        outer = level_matrices(model, "between", order, (*names, *self.given))
        alone = not model.both and not names  # nothing is left to integrate over in closed form
        self.between = LevelStructure(_with_a_constant(outer, model.level1[0]) if alone else outer)
        self.p1, self.p2 = len(model.level1), len(model.level2) + len(self.given)
        self.q = len(model.names) + len(self.given)
        both = model.level1[:1] if alone else model.both
        self.both: IntArray = np.array([model.level1.index(name) for name in both], dtype=np.int64)
        self.r = len(self.both) + len(names)
        place = self.within.maps.variables
        self.outcome: IntArray = np.array([place.index(s.outcome) for s in slopes], dtype=np.int64)
        self.predictor: IntArray = np.array([place.index(s.predictor) for s in slopes], dtype=np.int64)

    @property
    def carriers(self) -> IntArray:
        """Places, among the variables of the within level, of level-1 variables and of factors that carry slopes."""
        factors = np.unique(self.predictor[self.predictor >= self.p1])
        return np.concatenate([np.arange(self.p1), factors]).astype(np.int64)

    @property
    def elements(self) -> tuple[str, ...]:
        """Names of u and then z (r + p2)."""
        return self.between.maps.variables[: self.between.n_observed]

    @property
    def shared(self) -> IntArray:
        """For every slope (K,), the place in u of its predictor's between part; -1 where that lives within only."""
        both = self.both.tolist()
        return np.array([both.index(p) if p in both else -1 for p in self.predictor], dtype=np.int64)

    def moments(self, params: FloatArray, meaning: Meaning) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean (p,), Sigma_within (p1, p1) and Sigma_between (p, p) of the variables at one parameter vector (q,).

        Cluster means of n rows have the covariance Sigma_between + Sigma_within / n, as ever; the variables are not
        normal. Given the slopes everything is linear, and moments are polynomials in the slopes, so that a product
        Gauss-Hermite rule of enough nodes gives their expectations exactly (for normal slopes).
        """
        within, between = self.within.implied(params), self.between.implied(params)
        b, r, p1 = len(self.both), self.r, self.p1
        v = len(self.within.maps.variables)
        g = within.total[:, self.outcome]
        rest = np.array([*range(b), *range(r, len(between.mu))], dtype=np.int64)
        slopes = np.arange(b, r)
        factor = _root(between.sigma[np.ix_(slopes, slopes)])
        points, weights = _product_rule(len(slopes), min(len(slopes), v) + 3)
        link = between.sigma[np.ix_(rest, slopes)] @ _pseudo_inverse(factor).T
        left = between.sigma[np.ix_(rest, rest)] - link @ link.T
        mean = np.zeros(p1 + self.p2)
        inside, square = np.zeros((p1, p1)), np.zeros((len(mean), len(mean)))
        for z, weight in zip(points, weights, strict=True):
            s = between.mu[slopes] + factor @ z
            feed = np.zeros((v, v))
            np.add.at(feed.T, self.predictor, (g * s).T)
            spread = inverse(np.eye(v) - feed)[0][:p1]
            loads = np.zeros((len(mean), len(rest)))  # of (v_B, z) on the cluster's vector
            loads[self.both, range(b)] = 1.0
            loads[range(p1, len(mean)), range(b, len(rest))] = 1.0
            if meaning == "observed":
                loads[:p1] = spread[:, :p1] @ loads[:p1]
            centre = loads @ (between.mu[rest] + link @ z)
            if self.within.has_means:
                centre[:p1] += spread @ within.mean
            mean += weight * centre
            square += weight * (np.outer(centre, centre) + loads @ left @ loads.T)
            inside += weight * spread @ within.cov @ spread.T
        return mean, inside, square - np.outer(mean, mean)


def _with_paths(maps: LevelMatrices, model: TwoLevelModel, given: Sequence[str]) -> LevelMatrices:
    """The within level with the paths of given slopes as further parameters."""
    slopes = {slope.name: slope for slope in model.slopes}
    at = maps.variables.index
    row = np.array([at(slopes[name].outcome) for name in given], dtype=np.int64)
    column = np.array([at(slopes[name].predictor) for name in given], dtype=np.int64)
    free = np.arange(len(model.names), len(model.names) + len(given))
    old = maps.paths
    paths = Entries(*(np.concatenate(x) for x in ((old.row, row), (old.column, column), (old.free, free))))
    return replace(maps, paths=paths)


def _with_a_constant(maps: LevelMatrices, name: str) -> LevelMatrices:
    """The between level with a first variable that is 0: the between part of one that has none."""
    matrix, vector = ((1, 0), (1, 0)), ((1, 0),)
    one = np.int64(1)
    return LevelMatrices(
        (name, *maps.variables),
        maps.n_observed + 1,
        np.concatenate([[0], maps.positions]).astype(np.int64),
        np.pad(maps.base_paths, matrix),
        np.pad(maps.base_covariances, matrix),
        np.pad(maps.base_means, vector),
        Entries(maps.paths.row + one, maps.paths.column + one, maps.paths.free),
        Entries(maps.covariances.row + one, maps.covariances.column + one, maps.covariances.free),
        Entries(maps.means.row + one, maps.means.column, maps.means.free),
    )


def _root(a: FloatArray) -> FloatArray:
    """A square root of a positive semidefinite matrix."""
    values, vectors, _ = eigh(a)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _pseudo_inverse(factor: FloatArray) -> FloatArray:
    """Pseudo-inverse of a square root from `_root`: its columns are orthogonal."""
    squares = (factor**2).sum(axis=0)
    return np.asarray((factor / np.where(squares > 1e-14 * squares.max(initial=0.0), squares, np.inf)).T)


def _product_rule(dimension: int, nodes: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (n, dimension) and weights (n,) of the product Gauss-Hermite rule for independent standard normals."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.stack(np.meshgrid(*[x] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    weights = np.stack(np.meshgrid(*[w / w.sum()] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    return points, weights.prod(axis=-1)
