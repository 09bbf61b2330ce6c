"""`scripts/lecture` writes a figure, its numbers and a table with every method in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from simstudy.design import load_design

ROOT = Path(__file__).resolve().parents[2]
METHODS = [entry.name for entry in load_design(ROOT / "designs" / "all_methods.toml").estimators]


@pytest.mark.slow
def test_one_command_makes_figure_and_table(tmp_path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "lecture"), "--reps", "6", "--jobs", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.split() == [
        part for name in ("png", "csv", "md") for part in ("written:", f"{tmp_path}/all_methods.{name}")
    ]
    assert (tmp_path / "all_methods.png").read_bytes().startswith(b"\x89PNG")
    drawn = pd.read_csv(tmp_path / "all_methods.csv")
    assert list(dict.fromkeys(drawn["estimator"])) == METHODS
    assert list(dict.fromkeys(drawn["parameter"])) == ["bw", "bb", "ind_w", "ind_b"]
    assert (drawn["n_attempted"] == 6).all()


def test_what_is_shipped_has_every_method() -> None:
    text = (ROOT / "results" / "all_methods.md").read_text(encoding="utf-8")
    for title in ("Within slope", "Between slope", "Within indirect effect", "Between indirect effect"):
        table = text.split(f"**{title}**", 1)[1].split("**", 1)[0]
        assert (
            list(dict.fromkeys(line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")))[1:]
            == METHODS
        )
    drawn = pd.read_csv(ROOT / "results" / "all_methods.csv")
    assert list(dict.fromkeys(drawn["estimator"])) == METHODS
    assert drawn["n_attempted"].min() == 1000


def test_shipped_numbers_are_the_limits_the_methods_have() -> None:
    """Conflated slopes near the within slope, means mixed by their reliability, consistent methods at the truth."""
    drawn = pd.read_csv(ROOT / "results" / "all_methods.csv")
    equal = drawn[(drawn["cluster_size"] == "10") & (drawn["parameter"] == "bb")].set_index("estimator")
    reliability = 0.2 / (0.2 + 0.8 / 10)
    expected = {
        "disaggregated": 0.2 * 0.7 + 0.8 * 0.2,  # theory B1
        "aggregated": reliability * 0.7 + (1 - reliability) * 0.2,  # theory B2, B3
        "mlm_centered": reliability * 0.7 + (1 - reliability) * 0.2,
        "haernqvist": reliability * 0.7 + (1 - reliability) * 0.2,
        "msem": 0.7,
        "muml": 0.7,
    }
    for name, limit in expected.items():
        # 4 Monte Carlo SEs, and .01 for the bias of order 1 / J of ratios (theory B8)
        assert equal.loc[name, "value"] == pytest.approx(limit, abs=4 * equal.loc[name, "mcse"] + 0.01), name
