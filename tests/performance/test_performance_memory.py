"""A large study is analysed part by part, in bounded memory; `scripts/bench_analyse` prints the time as well."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_analyse"


@pytest.mark.slow
@pytest.mark.parametrize("cells", [75, 1])
def test_five_million_rows_take_less_than_a_gigabyte(cells: int) -> None:
    """Their columns alone, read at once, are 5e6 x (6 numbers + 3 texts): beyond it."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--rows", "5000000", "--cells", str(cells)], capture_output=True, text=True, check=True
    )
    found = re.search(r"peak ([\d,]+) MB", done.stdout)
    assert found, done.stdout
    assert float(found[1].replace(",", "")) < 1000
