"""`simstudy validate`: a design is checked without running it."""

from __future__ import annotations

from simstudy.commands.shared import DesignFile


def validate(design: DesignFile) -> None:
    """Check a design without running it."""
    from simstudy import api

    found = api.open_design(design)
    table = api.validate(found)
    methods = [entry.name for entry in found.estimators]
    cells, reps = len(found.cells), found.replications
    print(f"{found.name}: the design is valid")
    print(f"  {cells:,} cells x {reps:,} replications x {len(methods)} methods = {cells * reps * len(methods):,} fits")
    print(f"  methods: {', '.join(methods)}")
    print(f"  parameters: {', '.join(found.model.reported)}")
    unsupported = table[table["reason"] != ""]
    for (name, reason), rows in unsupported.groupby(["estimator", "reason"], sort=False):
        where = "all cells" if len(rows) == cells else f"{len(rows)} of {cells} cells"
        print(f"  {name} cannot be used in {where}: {reason}; its fits will be reported as NOT_SUPPORTED")
