"""The README's code for Python runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import simstudy

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_code_for_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"## From Python\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    (tmp_path / "designs").mkdir()
    shutil.copy(ROOT / "designs" / "smoke.toml", tmp_path / "designs")
    monkeypatch.chdir(tmp_path)
    simstudy.simulate("designs/smoke.toml", 0, 0).rename(columns={"cluster": "school"}).to_csv("data.csv", index=False)
    Path("model.lav").write_text("level: within\n  y ~ bw*x\nlevel: between\n  y ~ bb*x\n", encoding="utf-8")
    names: dict[str, object] = {}
    exec(code.group(1), names)
    assert {"study", "fit", "theory", "plan"} <= set(names)
    for written in ("figures/zip_bb_cell-0.pdf", "diagram.svg", "results/smoke/report.html"):
        assert Path(written).exists()
