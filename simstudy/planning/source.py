"""Where a plan's population comes from, and the folder that keeps what was simulated for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simstudy.design import Design
from simstudy.design.inputs import NAME, DesignLike, design_text
from simstudy.design.load import find_modules_beside
from simstudy.design.scenario import Scenario, read_scenario
from simstudy.design.templates import template_names, template_text
from simstudy.errors import SimstudyError, StoreError, did_you_mean
from simstudy.planning.result import PlanRecord
from simstudy.runner.files import TEMPORARY, write_bytes
from simstudy.runner.store import LOCK, locked

PLAN_FILE = "plan.json"
FORMAT = 1


@dataclass(frozen=True)
class Source:
    """A design file or template, with the settings of a plan.

    Attributes
    ----------
    text, name : str
        Of the file; what messages call it.
    settings : dict of str to str
    method, interval : str
    se : str or None
    level : float or None
    seed : int or None
    """

    text: str
    name: str
    settings: Mapping[str, str]
    method: str
    interval: str
    se: str | None
    level: float | None
    seed: int | None

    def scenario(self, *, open_size: bool, uncertain: Sequence[str] = ()) -> Scenario:
        """The scenario; one size of clusters is left out where the size is open."""
        sizes = ("cluster_size", "clusters") if open_size else ()
        return read_scenario(
            self.text,
            self.name,
            settings={name: value for name, value in self.settings.items() if name not in sizes},
            method=self.method,
            se=self.se,
            interval=self.interval,
            level=self.level,
            open_size=open_size,
            uncertain=uncertain,
            seed=self.seed,
        )


def read_source(design: DesignLike) -> tuple[str, str]:
    """Text of a design, and what messages call it: a file, or a template.

    Raises
    ------
    SimstudyError
        If there is neither a file nor a template of that name.
    """
    if isinstance(design, Design):
        return design.text, design.name
    text = design_text(design)
    if text is not None:
        return text, NAME
    path = Path(str(design))
    if path.is_file():
        find_modules_beside(path)
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SimstudyError(f"{path}: cannot be read: {error}") from None
    names = template_names()
    if str(design) in names:
        return template_text(str(design)), f"template {design}"
    files = [str(file) for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    hint = did_you_mean(str(design), [*names, *files])
    raise SimstudyError(f"{design}: there is no such file or template{hint}; templates: {', '.join(names)}")


def default_folder(request: Mapping[str, Any]) -> Path:
    """``results/plan-<study>-<parameter>-<digest>``: another population, method or parameter has another folder."""
    name = "-".join(["plan", str(request["name"]), str(request["parameter"]), str(request["digest"])[:6]])
    return Path("results") / "".join(c if c.isalnum() or c in "._-" else "_" for c in name)


@contextmanager
def plan_folder(folder: Path | None, digest: str) -> Iterator[None]:
    """Keep a folder for one plan while it is worked out; None keeps nothing.

    Raises
    ------
    StoreError
        If the folder holds something else, or another process works in it.
    """
    if folder is None:
        yield
        return
    _refuse_other(folder, digest)
    with locked(folder):
        if not (folder / PLAN_FILE).exists():
            write_bytes(folder / PLAN_FILE, _json({"format": FORMAT, "status": "open", "request": {"digest": digest}}))
        yield


def _refuse_other(folder: Path, digest: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: this is a file; give another folder with --out")
    path = folder / PLAN_FILE
    if not path.exists():
        others = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        if any(name != LOCK and not name.endswith(TEMPORARY) for name in others):
            raise StoreError(f"{folder}: this folder holds other files and no plan; give another one with --out")
        return
    try:
        there = str(json.loads(path.read_text(encoding="utf-8"))["request"]["digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: it cannot be read ({error}); give another folder with --out, or delete it"
        ) from error
    if there != digest:
        raise StoreError(
            f"{folder}: this folder holds a plan for another population, method or parameter; give another folder with "
            f"--out, or delete {folder}"
        )


def write_plan(plan: PlanRecord, folder: Path) -> list[Path]:
    """Write a plan as JSON and its tables as CSV; return what was written."""
    written = []
    for name, table in (("evaluations", plan.evaluations), ("designs", plan.designs)):
        if len(table):
            write_bytes(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
            written.append(folder / f"{name}.csv")
    write_bytes(folder / PLAN_FILE, plan_json(plan))
    return [folder / PLAN_FILE, *written]


def plan_json(plan: PlanRecord) -> bytes:
    """A plan as JSON."""
    return _json({"format": FORMAT, **plan.to_dict()})


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
