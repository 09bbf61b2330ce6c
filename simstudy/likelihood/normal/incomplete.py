"""Two-level normal log-likelihood of data with missing values at either level (full-information ML under MAR).

Of cluster j, rows of pattern g (n_g of them, mean r_g about mu, Sigma_g the observed part of Sigma_W) inform the latent
between part b_j through

    A_j = sum_g n_g Sigma_g^-1,    h_j = sum_g n_g Sigma_g^-1 r_g    (padded with zeros),

and level-2 variables through b_j | z_j ~ N(m_j, T_j). With A = L L', S_j = I + L'T_j L and h* = h - A m (theory D1.1),

    -2 l_j = sum_g {n_g log|Sigma_g| + tr Sigma_g^-1 S_g + n_g r_g'Sigma_g^-1 r_g} + log|S_j| - 2 m'h + m'A m
             - h*'T (I + A T)^-1 h* + log|Sigma_zz| + e'Sigma_zz^-1 e + (number observed) log 2 pi.

Scores follow from the posterior of b_j (Fisher's identity). The scoring matrix is the expected information given the
pattern of missing values; SEs use the observed information. Everything that does not depend on values is computed once
a kind of cluster, everything else once a group of rows. Equations of this file were derived for this project and are
tested against the brute-force normal and finite differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simstudy.data.incomplete import IncompleteStatistics
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, cholesky, inverse, matvec, transpose
from simstudy.model.implied import LevelImplied, LevelStructure, TwoLevelStructure

DIFFERENCE_STEP = 1e-4


@dataclass(frozen=True)
class IncompleteBatch:
    """R data sets, each with its own patterns."""

    items: tuple[IncompleteStatistics, ...]

    def select(self, replicates: IntArray | BoolArray) -> IncompleteBatch:
        """Some of the replicates."""
        index = np.arange(len(self.items))[replicates]
        return IncompleteBatch(tuple(self.items[i] for i in index))


@dataclass(frozen=True)
class MaskedInverse:
    """Inverses (P, p, p) and log-determinants (P,) of the observed parts of a covariance matrix, padded with zeros."""

    inverse: FloatArray
    log_det: FloatArray
    ok: bool

    @classmethod
    def of(cls, sigma: FloatArray, patterns: BoolArray) -> MaskedInverse:
        """Invert the observed parts of ``sigma`` (p, p) under each of ``patterns`` (P, p)."""
        both = patterns[:, :, None] & patterns[:, None, :]
        eye = np.eye(sigma.shape[-1])
        factor, ok = cholesky(np.where(both, sigma, eye))
        lower, _ = inverse(factor)
        log_det = 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
        return cls(np.where(both, np.matmul(transpose(lower), lower), 0.0), log_det, bool(ok.all()))


@dataclass(frozen=True)
class Posterior:
    """What is known of the latent between parts at parameter values; K kinds, J clusters, G groups."""

    within: MaskedInverse
    level2: MaskedInverse
    slopes: FloatArray  # J_z = [I, -B] by level-2 pattern (Z, p1, p)
    conditional: FloatArray  # T (K, p1, p1)
    shrink: FloatArray  # (I + A T)^-1 (K, p1, p1)
    precision: FloatArray  # Q = (I + A T)^-1 A (K, p1, p1)
    spread: FloatArray  # M = T (I + A T)^-1 (K, p1, p1)
    gradient: FloatArray  # gamma (J, p): dl / dmu of each cluster
    residual: FloatArray  # mean of a group minus mu minus posterior mean of b, 0 where missing (G, p1)
    loglik: float
    ok: bool


class IncompleteLikelihood(Likelihood[IncompleteBatch]):
    """Log-likelihood of a model for data with missing values.

    Parameters
    ----------
    structure : TwoLevelStructure
    """

    verify_maximum: ClassVar[bool] = False  # the observed information costs 2 q scores

    def __init__(self, structure: TwoLevelStructure) -> None:
        self.structure = structure

    def evaluate(self, params: FloatArray, data: IncompleteBatch) -> Evaluation:
        """Log-likelihood (R,), score (R, q) and expected information given the patterns (R, q, q)."""
        found = [self._evaluate(params[r], item) for r, item in enumerate(data.items)]
        return Evaluation(
            np.array([f[0] for f in found]),
            np.stack([f[1] for f in found]),
            np.stack([f[2] for f in found]),
            np.array([f[3] for f in found], dtype=bool),
        )

    def loglik(self, params: FloatArray, data: IncompleteBatch) -> FloatArray:
        """Log-likelihood (R,), minus infinity where it does not exist."""
        with np.errstate(all="ignore"):
            found = [self._posterior(params[r], item)[0] for r, item in enumerate(data.items)]
        return np.array([p.loglik if p.ok else -np.inf for p in found])

    def observed_information(self, params: FloatArray, data: IncompleteBatch) -> FloatArray:
        """Minus the second derivatives of l (R, q, q), by central differences of the exact score."""
        q = self.structure.q
        result = np.empty((len(data.items), q, q))
        for r, item in enumerate(data.items):
            step = DIFFERENCE_STEP * np.maximum(np.abs(params[r]), 0.1)
            for k in range(q):
                shift = np.zeros(q)
                shift[k] = step[k]
                up, down = self._score(params[r] + shift, item), self._score(params[r] - shift, item)
                result[r, k] = (down - up) / (2.0 * step[k])
        return 0.5 * (result + transpose(result))

    # ------------------------------------------------------------------ one data set

    def posterior(self, params: FloatArray, data: IncompleteStatistics) -> Posterior:
        """What is known of the latent between parts at parameters (q,)."""
        return self._posterior(params, data)[0]

    def between_information(self, posterior: Posterior, data: IncompleteStatistics) -> FloatArray:
        """Information of each kind of cluster about its between vector (K, p, p): J'QJ + Sigma_zz^-1."""
        return self._omega(posterior, data)

    def between_means(self, posterior: Posterior, data: IncompleteStatistics, params: FloatArray) -> FloatArray:
        """Posterior means of the between parts minus mu (J, p): Sigma_B gamma_j."""
        _, _, sigma_between = self.structure.moments(params)
        result: FloatArray = np.matmul(posterior.gradient, sigma_between)
        return result

    def _posterior(
        self, params: FloatArray, data: IncompleteStatistics
    ) -> tuple[Posterior, LevelImplied, LevelImplied]:
        s = self.structure
        within_implied, between_implied = s.within.implied(params), s.between.implied(params)
        mu, sigma_within, sigma_between = s.assemble(within_implied, between_implied)
        p1 = s.p1
        within = MaskedInverse.of(sigma_within, data.patterns)
        level2 = MaskedInverse.of(sigma_between[p1:, p1:], data.z_patterns)
        ok = within.ok and level2.ok and bool(within_implied.ok and between_implied.ok)
        link = np.matmul(sigma_between[:p1, p1:], level2.inverse)  # B (Z, p1, p2)
        slopes = np.concatenate([np.broadcast_to(np.eye(p1), (len(link), p1, p1)), -link], axis=-1)
        conditional = sigma_between[:p1, :p1] - np.matmul(link, sigma_between[p1:, :p1])
        conditional = conditional[data.kind_z]
        n_patterns = len(data.patterns)
        flat = within.inverse.reshape(n_patterns, p1 * p1)
        information = np.matmul(data.kind_rows, flat).reshape(-1, p1, p1)  # A (K, p1, p1)
        seen = np.matmul(data.kind_rows > 0, data.patterns.astype(float)) > 0  # (K, p1)
        both = seen[:, :, None] & seen[:, None, :]
        eye = np.eye(p1)
        factor, ok_a = cholesky(np.where(both, information, eye))
        middle = eye + np.matmul(np.matmul(transpose(factor), np.where(both, conditional, 0.0)), factor)
        root, ok_s = cholesky(middle)
        ok = ok and bool(ok_a.all() and ok_s.all())
        root_inverse, _ = inverse(root)
        core = np.matmul(transpose(root_inverse), root_inverse)
        precision = np.where(both, np.matmul(np.matmul(factor, core), transpose(factor)), 0.0)
        shrink = eye - np.matmul(precision, conditional)  # (I + A T)^-1 = I - Q T
        spread = np.matmul(conditional, shrink)
        log_det = 2.0 * np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)
        # values
        r = np.where(data.patterns[data.pattern], data.means - mu[:p1], 0.0)
        pulled = data.count[:, None] * matvec(within.inverse[data.pattern], r)
        h = np.zeros((data.n_clusters, p1))
        h[data.cluster[data.starts]] = np.add.reduceat(pulled, data.starts, axis=0)
        e = np.where(data.z_patterns[data.z_pattern], data.z - mu[p1:], 0.0)
        weighted_e = matvec(level2.inverse[data.z_pattern], e)
        m = matvec(link[data.z_pattern], e)
        a_m = matvec(information[data.kind], m)
        g = matvec(shrink[data.kind], h - a_m)
        t_g = matvec(conditional[data.kind], g)
        gamma = matvec(transpose(slopes)[data.z_pattern], g)
        gamma[:, p1:] += weighted_e
        rows = data.pattern_rows
        deviance = float(
            (rows * within.log_det).sum() + (within.inverse * data.pooled_scatter).sum() + (pulled * r).sum()
        )
        deviance += float((data.kind_count * (log_det + level2.log_det[data.kind_z])).sum())
        deviance += float((-2.0 * m * h + m * a_m - (h - a_m) * t_g).sum() + (e * weighted_e).sum())
        observed = (rows * data.patterns.sum(axis=1)).sum() + data.z_patterns[data.z_pattern].sum()
        deviance += float(observed * np.log(2.0 * np.pi))
        latent = (m + t_g)[data.cluster]
        posterior = Posterior(
            within=within,
            level2=level2,
            slopes=slopes,
            conditional=conditional,
            shrink=shrink,
            precision=precision,
            spread=spread,
            gradient=gamma,
            residual=np.where(data.patterns[data.pattern], r - latent, 0.0),
            loglik=-0.5 * deviance,
            ok=ok and bool(np.isfinite(deviance)),
        )
        return posterior, within_implied, between_implied

    def _score(self, params: FloatArray, data: IncompleteStatistics) -> FloatArray:
        with np.errstate(all="ignore"):
            posterior, within, between = self._posterior(params, data)
            d_within, d_between, d_mean = self._moment_derivatives(within, between)
            return self._contract(posterior, data, d_within, d_between, d_mean)

    def _moment_derivatives(
        self, within: LevelImplied, between: LevelImplied
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives of Sigma_W (q, p1, p1), Sigma_B (q, p, p) and mu (q, p)."""
        s = self.structure
        p = s.p1 + s.p2
        d_within, d_between, d_mean = np.zeros((s.q, s.p1, s.p1)), np.zeros((s.q, p, p)), np.zeros((s.q, p))
        at = s.between.positions
        for target, level, implied, where in (
            (d_within, s.within, within, np.arange(s.p1)),
            (d_between, s.between, between, at),
        ):
            t = level.moment_derivatives(implied)
            full = np.matmul(t.left.T[:, :, None], t.right.T[:, None, :])
            full = full + transpose(full)
            for k, free in enumerate(level.cov_free):
                target[free][np.ix_(where, where)] += full[k]
        pairs: tuple[tuple[LevelStructure, LevelImplied, IntArray], ...] = (
            (s.within, within, np.arange(s.p1)),
            (s.between, between, at),
        )
        for level, implied, where in pairs:
            if level is s.within and not level.has_means:
                continue
            slopes = level.mean_derivatives(implied)
            for k, free in enumerate(level.mean_free):
                d_mean[free, where] += slopes[:, k]
        return d_within, d_between, d_mean

    def _contract(
        self,
        posterior: Posterior,
        data: IncompleteStatistics,
        d_within: FloatArray,
        d_between: FloatArray,
        d_mean: FloatArray,
    ) -> FloatArray:
        """Score (q,) from the gradients with respect to the moments."""
        p1, q = self.structure.p1, self.structure.q
        gamma = posterior.gradient
        grad_between = 0.5 * (
            np.matmul(gamma.T, gamma) - np.tensordot(data.kind_count, self._omega(posterior, data), 1)
        )
        grad_within = self._pattern_gradients(posterior, data)
        score: FloatArray = np.matmul(d_mean, gamma.sum(axis=0))
        score = score + np.matmul(d_between.reshape(q, -1), grad_between.reshape(-1))
        score += np.matmul(d_within.reshape(q, p1 * p1), grad_within.reshape(-1))
        return score

    def _omega(self, posterior: Posterior, data: IncompleteStatistics) -> FloatArray:
        """J'QJ + Sigma_zz^-1 (K, p, p): information of each kind of cluster about its between vector."""
        p1 = self.structure.p1
        slopes = posterior.slopes[data.kind_z]
        omega: FloatArray = np.matmul(np.matmul(transpose(slopes), posterior.precision), slopes)
        omega[:, p1:, p1:] += posterior.level2.inverse[data.kind_z]
        return omega

    def _pattern_gradients(self, posterior: Posterior, data: IncompleteStatistics) -> FloatArray:
        """Derivative of l with respect to Sigma_W (p1, p1): what `_group_gradients` adds up to, by pattern."""
        r, n_patterns, p1 = posterior.residual, len(data.patterns), self.structure.p1
        products = (data.count[:, None] * r)[:, :, None] * r[:, None, :]
        inner = np.matmul(data.membership, products.reshape(len(r), -1))
        inner = inner + np.matmul((data.kind_rows * data.kind_count[:, None]).T, posterior.spread.reshape(-1, p1 * p1))
        inner = inner.reshape(n_patterns, p1, p1) + data.pooled_scatter
        p = posterior.within.inverse
        result: FloatArray = 0.5 * (np.matmul(np.matmul(p, inner), p) - data.pattern_rows[:, None, None] * p).sum(
            axis=0
        )
        return result

    def _group_gradients(self, posterior: Posterior, data: IncompleteStatistics) -> FloatArray:
        """Each group's derivative of l with respect to Sigma_W (G, p1, p1)."""
        r = posterior.residual
        spread = posterior.spread[data.kind[data.cluster]]
        inner = data.scatter + data.count[:, None, None] * (r[:, :, None] * r[:, None, :] + spread)
        p = posterior.within.inverse[data.pattern]
        result: FloatArray = 0.5 * (np.matmul(np.matmul(p, inner), p) - data.count[:, None, None] * p)
        return result

    def cluster_scores(self, params: FloatArray, data: IncompleteStatistics) -> FloatArray:
        """Score of every cluster (J, q); they add up to the score."""
        s = self.structure
        with np.errstate(all="ignore"):
            posterior, within, between = self._posterior(params, data)
            d_within, d_between, d_mean = self._moment_derivatives(within, between)
            gamma = posterior.gradient
            omega = self._omega(posterior, data)[data.kind]
            grad_between = 0.5 * (gamma[:, :, None] * gamma[:, None, :] - omega)
            grad_within = np.zeros((data.n_clusters, s.p1, s.p1))
            np.add.at(grad_within, data.cluster, self._group_gradients(posterior, data))
            scores: FloatArray = np.matmul(gamma, d_mean.T)
            scores = scores + np.matmul(grad_between.reshape(len(gamma), -1), d_between.reshape(s.q, -1).T)
            scores += np.matmul(grad_within.reshape(len(gamma), -1), d_within.reshape(s.q, -1).T)
        return scores

    def _evaluate(self, params: FloatArray, data: IncompleteStatistics) -> tuple[float, FloatArray, FloatArray, bool]:
        with np.errstate(all="ignore"):
            posterior, within, between = self._posterior(params, data)
            q = self.structure.q
            if not posterior.ok:
                return -np.inf, np.full(q, np.nan), np.full((q, q), np.nan), False
            d_within, d_between, d_mean = self._moment_derivatives(within, between)
            score = self._contract(posterior, data, d_within, d_between, d_mean)
            information = self._information(posterior, data, d_within, d_between, d_mean)
        return posterior.loglik, score, information, bool(np.isfinite(score).all())

    def _information(
        self,
        posterior: Posterior,
        data: IncompleteStatistics,
        d_within: FloatArray,
        d_between: FloatArray,
        d_mean: FloatArray,
    ) -> FloatArray:
        """Expected information (q, q) given the patterns of missing values."""
        p1, q = self.structure.p1, self.structure.q
        weight = data.kind_count
        omega = self._omega(posterior, data)
        n_kinds, p = omega.shape[0], omega.shape[1]
        result: FloatArray = np.matmul(np.matmul(d_mean, np.tensordot(weight, omega, 1)), d_mean.T)
        # between by between: tr(Omega D_a Omega D_b) / 2
        flat = omega.reshape(n_kinds, p * p)
        pairs = np.matmul(flat.T * weight, flat).reshape(p, p, p, p)  # [i, j, k, l] = sum Omega_ij Omega_kl
        kernel = pairs.transpose(1, 2, 3, 0).reshape(p * p, p * p)  # on (j, k) and (l, i)
        vec_between = d_between.reshape(q, p * p)
        result = result + 0.5 * np.matmul(np.matmul(vec_between, kernel), transpose(d_between).reshape(q, p * p).T)
        # derivatives of A by kind: sum_g n_g Sigma_g^-1 D_a Sigma_g^-1
        inverse_g = posterior.within.inverse  # (P, p1, p1)
        own = np.flatnonzero((d_within != 0).any(axis=(1, 2)))  # parameters of the within level
        d_own, k = d_within[own], len(own)
        turned = np.matmul(np.matmul(inverse_g[:, None], d_own), inverse_g[:, None])  # (P, k, p1, p1)
        n_patterns = len(inverse_g)
        by_kind = np.matmul(data.kind_rows, turned.reshape(n_patterns, -1)).reshape(n_kinds, k, p1, p1)
        shrink = posterior.shrink[:, None]
        slopes = posterior.slopes[data.kind_z][:, None]
        seen = np.matmul(np.matmul(shrink, by_kind), transpose(shrink))
        seen = np.matmul(np.matmul(transpose(slopes), seen), slopes)  # (K, k, p, p)
        summed = np.tensordot(weight, seen, 1).reshape(k, p * p)
        cross = 0.5 * np.matmul(summed, vec_between.T)
        result[own] += cross
        result[:, own] += cross.T
        # within by within
        rows = np.matmul(weight, data.kind_rows)  # (P,)
        held = np.matmul((data.kind_rows * weight[:, None]).T, posterior.spread.reshape(n_kinds, -1))
        held = held.reshape(n_patterns, p1, p1)  # sum over clusters of n_g M
        outer = np.matmul(held, inverse_g)[:, None]
        left = rows[:, None, None, None] * turned - np.matmul(transpose(outer), turned) - np.matmul(turned, outer)
        ww = np.matmul(left.sum(axis=0).reshape(k, -1), d_own.reshape(k, -1).T)
        moved = np.matmul(posterior.spread[:, None], by_kind)  # M A_a (K, k, p1, p1)
        ww += np.matmul(
            (moved * weight[:, None, None, None]).transpose(1, 0, 2, 3).reshape(k, -1),
            moved.transpose(0, 1, 3, 2).transpose(1, 0, 2, 3).reshape(k, -1).T,
        )
        result[own[:, None], own] += 0.5 * ww
        return 0.5 * (result + result.T)
