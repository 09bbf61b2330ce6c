"""A package of one's own brings a kind of data, a likelihood on it, and a method that maximises it.

The method takes two rows of every cluster. Their difference is free of whatever the cluster has in common, so that the
regression of differences through the origin estimates the slope within clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import simstudy
from simstudy import api
from simstudy.cli import app
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.extend import (
    DataKind,
    Estimator,
    Evaluation,
    FitResult,
    Likelihood,
    register,
    register_data_kind,
    with_fallback,
)
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray
from simstudy.methods import registry
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population import data_kinds
from simstudy.population.draw import draw_sample
from simstudy.population.population import Population
from simstudy.testing import check_estimator

DESIGN = Path(__file__).resolve().parents[2] / "designs" / "smoke.toml"
REPS = 20

# ---------------------------------------------------------------------- a kind of data


@dataclass(frozen=True)
class Differences:
    """First minus second row of every cluster (R, J, p), variables by name."""

    names: tuple[str, ...]
    values: FloatArray

    @property
    def n_replicates(self) -> int:
        return len(self.values)

    def select(self, replicates: IntArray | BoolArray | slice) -> Differences:
        return Differences(self.names, self.values[replicates])


def of_sample(sample: Sample) -> Differences:
    start = np.asarray(sample.layout.row_starts)
    return Differences(sample.level1, sample.rows[:, start] - sample.rows[:, start + 1])


def draw(population: Population, seed: int, replicates: Sequence[int]) -> Differences:
    return of_sample(draw_sample(population, seed, replicates))


DIFFERENCES = DataKind("differences", draw, of_sample)

# ---------------------------------------------------------------------- a likelihood


@dataclass(frozen=True)
class Pairs:
    """Differences of x and y (R, J)."""

    x: FloatArray
    y: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> Pairs:
        return Pairs(self.x[replicates], self.y[replicates])


class ThroughTheOrigin(Likelihood[Pairs]):
    """y ~ N(b x, v) at (b, v)."""

    def evaluate(self, params: FloatArray, data: Pairs) -> Evaluation:
        """Log-likelihood, score and expected information."""
        slope, variance = params[:, :1], params[:, 1:]
        error, n = data.y - slope * data.x, data.x.shape[1]
        squares = (error**2).sum(axis=1, keepdims=True)
        loglik = -0.5 * (n * np.log(2.0 * np.pi * variance) + squares / variance)[:, 0]
        score = np.concatenate(
            [
                (error * data.x).sum(axis=1, keepdims=True) / variance,
                0.5 * (squares / variance - n) / variance,
            ],
            axis=1,
        )
        information = np.zeros((len(params), 2, 2))
        information[:, 0, 0] = (data.x**2).sum(axis=1) / variance[:, 0]
        information[:, 1, 1] = 0.5 * n / variance[:, 0] ** 2
        return Evaluation(loglik, score, information, variance[:, 0] > 0)

    def observed_information(self, params: FloatArray, data: Pairs) -> FloatArray:
        """At the maximum, where it is asked for, the expected one."""
        return self.evaluate(params, data).information


# ---------------------------------------------------------------------- a method


@dataclass(frozen=True)
class TwoRows(Estimator):
    """Regression of differences of two rows, by maximum likelihood."""

    name: ClassVar[str] = "two_rows"
    title: ClassVar[str] = "differences of two rows of every cluster"
    reference: ClassVar[str] = "nobody (2026)"
    levels: ClassVar[tuple[str, ...]] = ("within",)
    can: ClassVar[str] = "the slope within clusters of one predictor"
    cannot: ClassVar[str] = "speak about anything else; use more than two rows of a cluster"

    @property
    def needs(self) -> str:
        return "differences"

    @property
    def se_kinds(self) -> tuple[str, ...]:
        return ("expected",)

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
        if [row.path for row in model.table.at("within") if row.op == "~"] != ["within: y ~ x"]:
            return "it knows the regression of y on x alone"
        return None if min(layout.sizes) >= 2 else "a cluster has a single row"

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> PreparedTwoRows:
        return PreparedTwoRows(model)


class PreparedTwoRows:
    def __init__(self, model: TwoLevelModel) -> None:
        self.names = model.names
        row = model.table.find("within", "y", "~", "x")
        assert row is not None
        self.slope = row.free

    def fit(self, data: Differences) -> FitResult:
        # laid out the same way in every batch: the order of a sum follows the layout
        pairs = Pairs(*(np.ascontiguousarray(data.values[..., data.names.index(name)]) for name in "xy"))
        start = np.stack([np.zeros(data.n_replicates), (pairs.y**2).mean(axis=1)], axis=1)
        with np.errstate(all="ignore"):
            best = with_fallback(ThroughTheOrigin(), pairs, (start,))
        n, q = data.n_replicates, len(self.names)
        estimate, covariance = np.full((n, q), np.nan), np.full((n, q, q), np.nan)
        estimate[:, self.slope] = best.params[:, 0]
        covariance[:, self.slope, self.slope] = best.inverse[:, 0, 0]
        result = FitResult(
            labels=self.names,
            estimate=estimate,
            covariance={"expected": covariance},
            status=best.status,
            admissible=np.ones(n, dtype=bool),
            n_iter=best.n_iter,
            loglik=best.loglik,
        )
        return result.blank_failures()


# ---------------------------------------------------------------------- what uses them


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    methods, kinds = dict(registry._REGISTRY), dict(data_kinds._KINDS)
    register_data_kind(DIFFERENCES)
    register(TwoRows)
    yield
    for known, before in ((registry._REGISTRY, methods), (data_kinds._KINDS, kinds)):
        known.clear()
        known.update(before)


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = DESIGN.read_text(encoding="utf-8")
    start, end = text.index("[estimators]"), text.index("[intervals]")
    path = tmp_path_factory.mktemp("own") / "own.toml"
    path.write_text(f'{text[:start]}[estimators]\nuse = ["two_rows", "msem"]\n\n{text[end:]}', encoding="utf-8")
    return path


def test_the_method_keeps_the_contract() -> None:
    """Bits that depend on no batch, failures that are statuses, input left alone."""
    assert "two_rows, contextual, unbalanced: fitted" in check_estimator("two_rows")


def test_a_study_draws_the_data_and_maximises_the_likelihood(design: Path, tmp_path: Path) -> None:
    simstudy.run(design, tmp_path / "out", jobs=1, reps=REPS, progress=False)
    stored = api.replicates(tmp_path / "out", 0, parameters=["bw"], estimators=["two_rows"])
    loaded = simstudy.validate(design)
    found = draw(loaded.cells[0].population, loaded.seed, range(REPS))
    x, y = (found.values[..., found.names.index(name)] for name in "xy")
    slope = (x * y).sum(axis=1) / (x * x).sum(axis=1)
    spread = np.sqrt(((y - slope[:, None] * x) ** 2).mean(axis=1) / (x * x).sum(axis=1))
    # least squares in closed form; scoring stops within 1e-6 standard errors
    np.testing.assert_allclose(stored["estimate"], slope, atol=1e-6 * spread.max())
    np.testing.assert_allclose(stored["se"], spread, rtol=1e-6)


@pytest.fixture(scope="module")
def study(design: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "out"
    simstudy.run(design, folder, jobs=2, reps=REPS, progress=False)
    return folder


@pytest.mark.slow
def test_two_workers_store_what_one_does(study: Path, design: Path, tmp_path: Path) -> None:
    """Workers know the kind of data and the method; analyse, plot and the bits are those of one process."""
    simstudy.run(design, tmp_path / "out", jobs=1, reps=REPS, progress=False)
    one, two = (api.replicates(folder, 0, estimators=["two_rows"]) for folder in (tmp_path / "out", study))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    table = simstudy.analyse(study).performance(
        parameters="bw", measures="bias", estimators="two_rows", basis="casewise"
    )
    mine = two[two["parameter"] == "bw"]
    assert table["value"].iloc[0] == pytest.approx((mine["estimate"] - mine["truth"]).mean(), rel=1e-12)  # summed apart
    (chart,) = simstudy.plot(study, "zip", parameters=["bw"], estimators=["two_rows"], cells=[0])
    assert len(chart.data) == REPS


@pytest.mark.slow
def test_the_report_has_the_method(study: Path) -> None:
    text = simstudy.write_report(study, theory=False).read_text(encoding="utf-8")
    assert "two_rows" in text
    assert TwoRows.title in text


def test_the_command_runs_it(design: Path, tmp_path: Path) -> None:
    arguments = ["run", str(design), "--out", str(tmp_path / "out"), "--reps", "5", "--jobs", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["analyse", str(tmp_path / "out"), "--parameter", "bw"])
    assert done.exit_code == 0, done.output
    assert "two_rows" in done.output


def test_one_data_set_is_turned_into_it(design: Path) -> None:
    loaded = simstudy.validate(design)
    frame = simstudy.simulate(design, cell=0, rep=3)
    fit = simstudy.fit(loaded.model, frame, cluster="cluster", estimator="two_rows")
    table = fit.parameters.set_index("label")
    assert fit.converged
    assert np.isfinite(table.loc["bw", ["est", "se"]].astype(float)).all()
    assert np.isnan(table.loc["bb", "est"])


def test_theory_finds_its_limit(design: Path) -> None:
    table = simstudy.bias(design).to_frame()
    mine = table[(table["estimator"] == "two_rows") & (table["parameter"] == "bw") & (table["measure"] == "bias")]
    assert len(mine) == 2
    # consistent: large samples leave their own Monte Carlo error
    assert (mine["value"].abs() <= 4.0 * mine["mcse"]).all()
