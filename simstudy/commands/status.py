"""`simstudy status`: what is done, what failed and why."""

from __future__ import annotations

from simstudy.commands.shared import Folder, print_table


def status(folder: Folder) -> None:
    """Print what is done, what failed and why."""
    from simstudy import api

    found = api.status(folder)
    table = found.progress
    missing, there = int(table["missing"].sum()), int(table["done"].sum())
    done = "complete" if found.complete else f"{missing:,} fits are missing"
    asked = table["done"] + table["missing"]
    low, high = int(asked.min()), int(asked.max())
    span = f"{low:,} replications" if low == high else f"{low:,} to {high:,} replications a cell"
    print(f"{found.name}: {there:,} of {there + missing:,} fits ({span}), {done}")
    if found.until:
        targets = ", ".join(f"{name} {value:g}" for name, value in found.until["targets"].items())
        print(f"  replicated until the Monte Carlo SEs are: {targets}; at most {found.until['maximum']:,} a cell")
    facts = [name for name in table.columns[list(table.columns).index("done") :] if name != "missing"]
    by_method = table.groupby("estimator", sort=False)[["done", "missing", *facts[1:]]].sum().reset_index()
    print_table(by_method, left=1)
    if not found.complete:
        unfinished = table[table["missing"] > 0].groupby("cell")["missing"].sum()
        shown = ", ".join(str(cell) for cell in unfinished.index[:20])
        print(f"\ncells with missing fits: {shown}{', ...' if len(unfinished) > 20 else ''}")
    if len(found.problems):
        print("\nWhat failed and why:")
    columns = ["estimator", "status", "message"]
    for (name, state, message), rows in found.problems.groupby(columns, sort=False):
        first = rows.iloc[0]
        cells = f"{len(rows)} cells" if len(rows) > 1 else f"cell {first['cell']}"
        print(f"  {name}, {state}, {int(rows['count'].sum()):,} fits in {cells}: {message}")
        if state in ("EXCEPTION", "NONFINITE"):
            where = f"--cell {first['cell']} --rep {first['replicate']} --estimator {name}"
            print(f"    the first: simstudy replay {folder} {where}")
    for message in found.damaged:
        print(f"{message}; running the design again replaces it")
    print("\nbegun with " + ", ".join(f"{name} {version}" for name, version in found.versions.items()))
