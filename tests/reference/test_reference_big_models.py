"""Models that took minutes, or never ended: 19 items in 49 companies, and a factor that runs off (Mplus ex9.11)."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from outside_cases import data, expected, model_text

from simstudy.analysis.fit import fit
from simstudy.data.sample import from_frame
from simstudy.estimation.engine import complete_engine
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import SCORING
from simstudy.estimation.semidefinite import solve_semidefinite
from simstudy.estimation.unrestricted import unrestricted_model
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

# Seconds of processor time, several times what an idle core takes, and far from the 23 and more of full matrices.
ENOUGH = 15.0


@pytest.mark.slow
def test_19_items_in_49_companies(both_sides) -> None:
    case = "cfa_19_items_49_companies_slow"
    theirs = expected(case)
    began = time.process_time()
    found = fit(model_text(case), data(case), cluster="COMPID")
    assert time.process_time() - began < ENOUGH
    assert found.converged
    # lavaan stops with a gradient of 2e-5, at or below the maximum
    assert found.measures["loglik"] >= theirs["fit"]["logl"] - 1e-6
    assert found.measures["df"] == theirs["fit"]["df"]
    both_sides(case, "loglik", found.measures["loglik"], theirs["fit"]["logl"], 1e-4, "lavaan's gradient is 2e-5")
    ours = {(row.level, row.lhs, row.op, row.rhs): (row.est, row.se) for row in found.parameters.itertuples()}
    for row in theirs["parameters"]:
        key = ("within" if row["level"] == 1 else "between", row["lhs"], row["op"], row["rhs"])
        if row["se"] > 0:
            # lavaan stops early (its log-likelihood is lower by 7e-6): .23 % of a standard error measured
            assert ours[key][0] == pytest.approx(row["est"], abs=1e-2 * row["se"])
            assert ours[key][1] == pytest.approx(row["se"], rel=1e-2)


@pytest.mark.slow
def test_semidefinite_maximum_of_19_items_is_that_of_full_matrices() -> None:
    """Nine of the 19 directions have no between variance; the unrestricted likelihood has no maximum."""
    case = "cfa_19_items_49_companies_slow"
    model = TwoLevelModel.from_syntax(model_text(case))
    structure = TwoLevelStructure(unrestricted_model(model))
    columns = ["COMPID", *model.variables]
    sample = from_frame(data(case)[columns].dropna(), "COMPID", model.level1, model.level2)
    statistics = sample.arrange(structure.model.level1, structure.model.level2).statistics(cluster_wise=False)
    engine = complete_engine(structure, statistics)
    found = []
    for one in (engine, replace(engine, optimiser=SCORING)):
        with np.errstate(all="ignore"):
            best = engine.solve_once()
            assert best.status[0] != int(Status.OK)
            began = time.process_time()
            found.append((solve_semidefinite(structure, one, best), time.process_time() - began))
    (fast, quick), (full, slow) = found
    assert fast.status[0] == full.status[0] == int(Status.OK)
    np.testing.assert_allclose(fast.loglik, full.loglik, atol=1e-8)  # both stop within a decrement of 1e-12
    assert quick < slow / 4  # a twentieth measured


@pytest.mark.slow
def test_a_fit_without_a_maximum_says_what_runs_off() -> None:
    case = "ex9_11_g2_nonconv"
    began = time.process_time()
    found = fit(model_text(case), data(case), cluster="clus")
    assert time.process_time() - began < ENOUGH
    assert not found.converged
    assert any("between: fb1 =~ y2" in note and "between: y2 ~~ y2" in note for note in found.notes)
