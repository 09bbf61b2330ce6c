"""The tour runs as a notebook, and every result shows itself as the last line of a cell."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "notebook"))
TOUR = (ROOT / "docs" / "tour.py").read_text(encoding="utf-8")
PICTURES = ("fit.plot()", "plan.plot()", 'study.plot(parameters="contextual")')


def test_cells_are_those_of_the_text() -> None:
    cells = SCRIPT["cells_of"](TOUR)
    assert cells[0][0] == "markdown"
    assert cells[0][1].startswith("# A tour")
    code = "\n\n".join(body for kind, body in cells if kind == "code")
    assert [line for line in code.splitlines() if line and line not in TOUR] == []
    compile(code, "tour", "exec")


@pytest.mark.slow
def test_the_tour_runs_and_shows_tables_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(name, reason=f"{name} is not installed: the notebook was not run (pip install .[test])")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = SCRIPT["run"](TOUR, tmp_path)
    shown = {cell.source: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    for source, outputs in shown.items():
        assert not [output for output in outputs if output.output_type == "stream"], source  # nothing beside the result
        assert len(outputs) == 1, source
        assert "<Figure" not in outputs[0].data["text/plain"], source
    for source in shown:
        last = source.splitlines()[-1]
        if last in ("design", "fit", "fits", "study", "theory", "plan", "study.status()", "study.replicate(0, 3)"):
            assert "<table" in shown[source][0].data["text/html"], source
            assert len(shown[source][0].data["text/plain"]) < 400, source
    for source in PICTURES:
        assert "data:image/png;base64," in shown[source][0].data["text/html"]
    assert (tmp_path / "results" / "contextual" / "report.html").exists()
