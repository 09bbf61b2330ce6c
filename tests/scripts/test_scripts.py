"""Every script of `scripts/` starts: its imports exist, and its help is printed; the short ones are run."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
ALL = sorted(path for path in SCRIPTS.iterdir() if path.is_file())
PYTHON = [path for path in ALL if "python" in path.read_text().splitlines()[0]]
SHELL = [path for path in ALL if path not in PYTHON] + [SCRIPTS / "lib" / "venv.sh", SCRIPTS.parent / ".ci" / "run"]


def test_scripts_are_found() -> None:
    assert {path.name for path in PYTHON} >= {"bench", "bench_analyse", "lecture"}
    assert {path.name for path in SHELL} >= {"simstudy", "test"}


@pytest.mark.parametrize("script", PYTHON, ids=lambda path: path.name)
def test_imports_of_a_script_exist(script: Path) -> None:
    """Its names are made, its main function is not run."""
    assert callable(runpy.run_path(str(script), run_name="imported")["main"])


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_shell_script_can_be_parsed(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("script", PYTHON, ids=lambda path: path.name)
def test_a_script_prints_its_help(script: Path) -> None:
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "usage" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("bench", ["--reps", "8", "--repeat", "1"], "msem"),
        ("bench_fit", ["--repeat", "1"], "batch"),
        ("bench_missing", ["--repeat", "1"], "missing_mar"),
        ("bench_table", ["--reps", "8", "--repeat", "1", "--history", "nowhere.jsonl"], "magmaan"),
        ("bench_slopes", ["--reps", "4", "--repeat", "1"], "latent"),
        ("bench_bias", ["--repeat", "1"], "conflation"),
        ("bench_analyse", ["--rows", "20000", "--cells", "2"], "peak"),
        ("kill_and_resume", ["--kills", "1", "--reps", "20"], "same"),
    ],
)
def test_a_tiny_run(name: str, arguments: list[str], expected: str) -> None:
    command = [sys.executable, SCRIPTS / name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SCRIPTS.parent)
    assert expected in done.stdout
