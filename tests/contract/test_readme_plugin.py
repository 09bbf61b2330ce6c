"""The method written in the README keeps the contract and runs in a design."""

import re
import sys
from pathlib import Path

import pytest

import simstudy
from simstudy.testing import check_estimator

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    code = re.search(r"```python\n# fixed_effects\.py\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code, "the README no longer shows fixed_effects.py"
    (tmp_path / "fixed_effects.py").write_text(code.group(1), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("fixed_effects", None)


def test_contract(plugin, monkeypatch):
    monkeypatch.syspath_prepend(str(plugin))
    assert sum("fitted" in line for line in check_estimator("fixed_effects:FixedEffects")) == 12


def test_design_beside_it(plugin):
    text = (README.parent / "designs" / "smoke.toml").read_text(encoding="utf-8")
    text = re.sub(r"use = \[.*?\]", 'use = ["msem", "fixed_effects:FixedEffects"]', text, flags=re.DOTALL)
    (plugin / "own.toml").write_text(text, encoding="utf-8")
    found = simstudy.run(plugin / "own.toml", plugin / "out", jobs=1, reps=20, progress=False)
    rows = found.performance(measures="mean_estimate", parameters="bw", basis="casewise")
    both = rows.drop_duplicates(["cell", "estimator"]).pivot_table(index="cell", columns="estimator", values="value")
    # balanced or not, the within slope of a saturated model is close to the least-squares one
    assert (both["msem"] - both["fixed_effects:FixedEffects"]).abs().max() < 0.02
