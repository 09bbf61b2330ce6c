"""`simstudy simulate`: one data set of a study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simstudy.commands.shared import Cell, DesignFile, Rep, say


def simulate(
    design: DesignFile,
    cell: Cell,
    rep: Rep,
    out: Annotated[Path | None, typer.Option(help="CSV or Parquet file; CSV to the terminal by default.")] = None,
) -> None:
    """Write one data set of a study, as every method gets it."""
    from simstudy import api

    data = api.simulate(design, cell, rep, out)
    if out is None:
        data.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        say(f"written: {out} ({len(data):,} rows)")
