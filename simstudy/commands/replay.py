"""`simstudy replay`: one past fit, bit for bit."""

from __future__ import annotations

from typing import Annotated

import typer

from simstudy.commands.shared import FAILED, Cell, Folder, Rep, print_table


def replay(
    folder: Folder,
    cell: Cell,
    rep: Rep,
    estimator: Annotated[str, typer.Option(help="Method.", show_default=False)],
) -> None:
    """Fit one replicate again and compare it with what is stored, bit for bit."""
    from simstudy import api

    found = api.replay(folder, cell, rep, estimator)
    print(f"cell {cell}, replicate {rep}, {estimator}: stored, and again")
    numbers = ["estimate", "se", "lower", "upper"]
    shown = [name for name in numbers if found.table[[name, f"{name}_again"]].notna().any(axis=None)]
    print_table(found.table[["se_kind", "param", *(c for name in shown for c in (name, f"{name}_again"))]], left=2)
    print_table(found.facts.rename_axis("fit").reset_index(), left=1)
    if found.error:
        print(found.error)
    if found.identical:
        print("identical, bit for bit")
    else:
        why = f"versions have changed: {found.changes}" if found.changes else "the versions are the same"
        print(f"DIFFERENT, by {found.largest:.1g} at most (relative); {why}")
    if not found.identical:
        raise typer.Exit(FAILED)
