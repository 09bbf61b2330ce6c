"""Copies and trims the reference cases: ``python copy_cases.py /path/to/shared/reference`` (see README.md).

Kept of ``result.json``: the fits that analyse all variables jointly (``fixed.x = FALSE``, or no exogenous variables),
with their fit measures but without standardised solutions, confidence limits and unrestricted moments. The smaller
files are copied as they are; of the mixed models those with a random intercept only. A data set that belongs to several
cases is stored once: ``result.json`` names the case under ``data``.

Random slopes: the cases ``xiv_rs_*`` become ``result_slopes.json`` (all fits of lavaan, which conditions on exogenous
variables or takes their moments as known), and the mixed models with a random slope of every case
``mixed_slopes.json`` (lme4, nlme, OpenMx, MixedLM).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
LEFT_OUT = ("xii_",)  # missing data
SLOPES = "xiv_"
DROPPED = ("h1", "standardized", "fit_measures", "level_specific_fit")
KINDS = ("observed", "expected", "mlr")
MIXED = {"result_lme.json": "_ri_", "result_statsmodels.json": "ri_", "result_openmx.json": "ri"}
MIXED_SLOPES = {"result_lme.json": "_rs_", "result_statsmodels.json": "rs_", "result_openmx.json": "rs"}


def joint(fits: dict) -> dict:
    """The fits with all variables in the likelihood."""
    chosen = {name: fit for name, fit in fits.items() if name.endswith("_fixedxF")}
    return {name: trimmed(fit) for name, fit in (chosen or {kind: fits[kind] for kind in KINDS}).items()}


def trimmed(fit: dict) -> dict:
    unwanted = ("ci.lower", "ci.upper", "z", "pvalue")
    rows = [{k: v for k, v in row.items() if k not in unwanted} for row in fit["par"]]
    return {k: v for k, v in fit.items() if k not in DROPPED} | {"par": rows}


def copy_slopes(folder: Path, target: Path) -> None:
    """A case of random slopes."""
    target.mkdir(exist_ok=True)
    for name in ("model.lav", "data.csv"):
        shutil.copy(folder / name, target)
    content = json.loads((folder / "result.json").read_text())
    content["fits"] = {name: trimmed(fit) for name, fit in content["fits"].items() if fit["logl"] is not None}
    write(target / "result_slopes.json", content)


def mixed_slopes(folder: Path, target: Path) -> None:
    """Mixed models with a random slope, by software."""
    found = {}
    for name, part in MIXED_SLOPES.items():
        if (folder / name).exists():
            content = json.loads((folder / name).read_text())
            content["fits"] = {k: v for k, v in content["fits"].items() if k.startswith(part) or part in k}
            found[content["software"]] = content
    if found:
        write(target / "mixed_slopes.json", found)


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def main(source: Path) -> None:
    owner: dict[str, str] = {}
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if folder.name.startswith(LEFT_OUT):
            continue
        target = HERE / folder.name
        mixed_slopes(folder, target)
        if folder.name.startswith(SLOPES):
            copy_slopes(folder, target)
            continue
        target.mkdir(exist_ok=True)
        shutil.copy(folder / "model.lav", target)
        content = json.loads((folder / "result.json").read_text())
        content["fits"] = joint(content["fits"])
        digest = hashlib.sha256((folder / "data.csv").read_bytes()).hexdigest()
        content["data"] = owner.setdefault(digest, folder.name)
        if content["data"] == folder.name:
            shutil.copy(folder / "data.csv", target)
        write(target / "result.json", content)
        for name in ("result_tight.json", "result_single_level.json"):
            if (folder / name).exists():
                shutil.copy(folder / name, target)
        for name, part in MIXED.items():
            if (folder / name).exists():
                content = json.loads((folder / name).read_text())
                fits = content["fits"].items()
                content["fits"] = {k: v for k, v in fits if part in k or "null" in k}
                write(target / name, content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
