"""Reads the stored cases and maps other software's parameter rows to ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import simstudy.methods  # noqa: F401  (registers the methods)
from simstudy.data.sample import Sample, from_frame
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel

DATA = Path(__file__).parent / "data"
CASES = tuple(sorted(path.parent.name for path in DATA.glob("*/result_tight.json")))
LEVELS = {1: "within", 2: "between"}


def difference(ours: float, theirs: float) -> float:
    """Relative difference, absolute below 1."""
    return abs(float(ours) - float(theirs)) / max(1.0, abs(float(theirs)))


@cache
def content(case: str, name: str = "result.json") -> dict[str, Any]:
    return json.loads((DATA / case / name).read_text())


def polished(case: str) -> dict[str, Any]:
    """lavaan's fit at zero gradient, all variables in the likelihood."""
    fits = content(case, "result_tight.json")["fits"]
    name = "tight_fixedxF" if "tight_fixedxF" in fits else "tight"
    assert fits[name]["fixed.x"] is False
    return fits[name]


def default(case: str) -> dict[str, Any]:
    """lavaan's fit as it stops by default."""
    fits = content(case)["fits"]
    return fits.get("observed_fixedxF") or fits["observed"]


@cache
def model(case: str) -> TwoLevelModel:
    return TwoLevelModel.from_syntax((DATA / case / "model.lav").read_text())


@cache
def frame(case: str) -> pd.DataFrame:
    return pd.read_csv(DATA / content(case)["data"] / "data.csv")


@dataclass(frozen=True)
class Fit:
    """One data set fitted: values by name."""

    result: FitResult
    model: TwoLevelModel
    sample: Sample

    def index(self, row: dict[str, Any]) -> int | None:
        """Place of another software's parameter row, or None where it is fixed."""
        if row["op"] == ":=":
            return self.result.labels.index(row["lhs"])
        found = self.model.table.find(LEVELS[row["level"]], row["lhs"], row["op"], row["rhs"])
        assert found is not None, f"no row {row}"
        return found.free if found.free >= 0 else None

    def value(self, name: str) -> float:
        return float(self.result.estimate[0, self.result.labels.index(name)])

    def se(self, name: str, kind: str = "expected") -> float:
        return float(self.result.se[kind][0, self.result.labels.index(name)])

    @property
    def loglik(self) -> float:
        return float(self.result.loglik[0])


def fit(method: str, text: str | TwoLevelModel, data: pd.DataFrame, cluster: str = "g", **options: Any) -> Fit:
    """Fit one data set by a method of the registry, with ``:=`` parameters."""
    model = text if isinstance(text, TwoLevelModel) else TwoLevelModel.from_syntax(text)
    sample = from_frame(data, cluster, model.level1, model.level2)
    estimator = registry.create(method, options)
    assert estimator.supports(model, sample.layout) is None
    result = estimator.prepare(model, sample.layout).fit(sample)
    assert result.converged.all()
    return Fit(with_defined(result, model.estimands), model, sample)


def score_norm(found: Fit) -> float:
    """Largest element of the two-level score at the estimate, by row: comparable with lavaan's gradient."""
    from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
    from simstudy.model.implied import TwoLevelStructure

    layout = found.sample.layout
    likelihood = TwoLevelLikelihood(TwoLevelStructure(found.model), layout.distinct, layout.counts)
    q = len(found.model.names)
    at = likelihood.evaluate(found.result.estimate[:, :q], Data.of(found.sample.statistics(cluster_wise=False)))
    return float(np.abs(at.score).max()) / layout.n_obs
