"""Methods that behave badly on purpose, importable by workers as ``run_fakes:Name``, and small designs that use them.

Every one "estimates" something simple and exact from the statistics of each replicate on its own.
"""

from __future__ import annotations

import collections
import itertools
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from simstudy.estimation.result import FitResult, Status
from simstudy.methods.protocol import Diagnostic


@dataclass(frozen=True)
class Fake:
    """Numbers made from the data; one replicate in a few does not converge."""

    name: ClassVar[str] = "fake"
    title: ClassVar[str] = "a fake"
    reference: ClassVar[str] = "nobody"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = "be fast"
    cannot: ClassVar[str] = "estimate"

    shift: float = 0.0

    @property
    def needs(self):
        return "statistics"

    @property
    def se_kinds(self):
        return ("expected", "robust")

    def supports(self, model, layout):
        return None

    def prepare(self, model, layout):
        return Prepared(self, model)

    def before(self, first):
        """Hook: sees a number (R,) of each replicate in the batch."""

    def status(self, first):
        return np.where(first > 0.15, int(Status.MAX_ITER), int(Status.OK))


@dataclass(frozen=True)
class Prepared:
    options: Fake
    model: object

    def fit(self, data):
        first = data.size_means[:, 0, 0]
        self.options.before(first)
        n, q = len(first), len(self.model.names)
        estimate = self.options.shift + first[:, None] * np.arange(1.0, q + 1.0) + data.scatter_within[:, :1, 0] / 1000
        covariance = np.broadcast_to(np.eye(q) * 0.01, (n, q, q)) * (1.0 + first[:, None, None] ** 2)
        return FitResult(
            labels=self.model.names,
            estimate=estimate,
            covariance={"expected": covariance, "robust": covariance * 2},
            status=self.options.status(first),
            admissible=first > -0.05,
            n_iter=np.full(n, 3),
            loglik=-first,
        ).blank_failures()


class Second(Fake):
    name: ClassVar[str] = "second"


class Clusters(Fake):
    """Needs cluster-wise statistics."""

    name: ClassVar[str] = "clusters"

    @property
    def needs(self):
        return "clusters"


class Rows(Fake):
    """Needs raw rows."""

    name: ClassVar[str] = "rows"

    @property
    def needs(self):
        return "sample"

    def prepare(self, model, layout):
        return PreparedRows(self, model)


@dataclass(frozen=True)
class PreparedRows(Prepared):
    def fit(self, data):
        return Prepared.fit(self, data.statistics())


class Raises(Fake):
    """Raises if the batch has a replicate with a negative number."""

    name: ClassVar[str] = "raises"

    def before(self, first):
        if (first < -0.1).any():
            raise ZeroDivisionError("a negative number")


class RaisesWhenPrepared(Fake):
    name: ClassVar[str] = "unprepared"

    def prepare(self, model, layout):
        raise KeyError("nothing there")


class Misshapen(Fake):
    name: ClassVar[str] = "misshapen"

    def prepare(self, model, layout):
        return Truncated(Prepared(self, model))


@dataclass(frozen=True)
class Truncated:
    inner: Prepared

    def fit(self, data):
        return self.inner.fit(data.select(slice(1, None)))


class Hopeless(Fake):
    """Never converges."""

    name: ClassVar[str] = "hopeless"

    def status(self, first):
        return np.full(len(first), int(Status.NON_PD))


class Unsupported(Fake):
    name: ClassVar[str] = "unsupported"

    def supports(self, model, layout):
        return "it supports nothing"

    def prepare(self, model, layout):
        raise AssertionError("not to be prepared")


@dataclass(frozen=True)
class Deadly(Fake):
    """Kills its own process where a replicate's number is large, as long as there are lives left in a file."""

    name: ClassVar[str] = "deadly"

    lives: str = ""

    def before(self, first):
        path = Path(self.lives)
        if (first > 0.15).any() and path.read_text():
            path.write_text(path.read_text()[1:])
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Slow(Fake):
    """Takes its time for every replicate."""

    name: ClassVar[str] = "slow"

    seconds: float = 0.01

    def before(self, first):
        time.sleep(self.seconds * len(first))


class OwnIntervals(Fake):
    """Intervals, random numbers and diagnostics of its own."""

    name: ClassVar[str] = "ownintervals"
    needs_random: ClassVar[bool] = True
    interval_kinds: ClassVar[tuple[str, ...]] = ("profile",)
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = (
        Diagnostic("rhat", "R-hat", "How far the chains are from each other.", better="low"),
    )

    def prepare(self, model, layout):
        return PreparedOwn(Prepared(self, model))


@dataclass(frozen=True)
class PreparedOwn:
    inner: Prepared

    def fit(self, data, streams):
        found = self.inner.fit(data)
        noise = np.array([streams.generator(r).standard_normal() for r in range(len(streams))])
        estimate = found.estimate + noise[:, None]
        return replace(
            found,
            estimate=estimate,
            intervals={"expected": (estimate - 100.0, estimate + 100.0), "profile": (estimate - 1.0, estimate + 3.0)},
            measures={"rhat": 1.0 + np.abs(noise)},
        )


@dataclass(frozen=True)
class Stuck(Fake):
    """Does not come back for replicates with a large number: in Python, or in compiled code that keeps the lock."""

    name: ClassVar[str] = "stuck"

    compiled: bool = False

    def before(self, first):
        while (first > 0.1).any():
            if self.compiled:
                collections.deque(itertools.repeat(0), maxlen=0)  # a loop in C that never looks up
            time.sleep(0.01)


TEXT = """
[study]
name = "tiny"
replications = {reps}
seed = {seed}

[model]
syntax = '''
level: within
  y ~ bw*x
level: between
  y ~ bb*x
contextual := bb - bw
'''

[population]
bw = 0.2
bb = 0.7
variance = 1.0
icc = {{ x = "icc", y = 0.2 }}

[factors]
n_clusters = {clusters}
cluster_size = [5]
icc = [0.2]

[estimators]
use = [{use}]
{options}

[intervals]
kinds = ["wald", "montecarlo"]
draws = 100
"""


def design_text(*methods, reps=40, seed=1, clusters=(20, 30), options=None):
    """A small design; methods with a capital letter are fakes, named in small letters; options are TOML by name."""
    lines = []
    for method in methods:
        fields = [(options or {}).get(method.lower(), "")]
        if not method.islower():
            fields.insert(0, f'estimator = "run_fakes:{method}"')
        lines.append(f"{method.lower()} = {{ {', '.join(filter(None, fields))} }}")
    use = ", ".join(f'"{method.lower()}"' for method in methods)
    return TEXT.format(reps=reps, seed=seed, clusters=list(clusters), use=use, options="\n".join(lines))


def snapshot(root):
    """Every file of a folder: (inode, time of change, bytes)."""
    files = [path for path in Path(root).rglob("*") if path.is_file()]
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def tables(root):
    """Bytes of the performance tables."""
    return [(Path(root) / f"performance.{suffix}").read_bytes() for suffix in ("csv", "parquet")]
