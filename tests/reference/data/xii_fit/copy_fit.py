"""Copies what `test_reference_fit.py` needs: ``python copy_fit.py /path/to/shared/reference`` (see README.md).

`<case>.json` here: fit measures, ICCs, standardised solutions, fits of one level, as lavaan stops by default, without
what repeats (a fit with ``fixed.x = FALSE`` of a model without exogenous variables, SEs that are not compared). The
missing-data cases, which other tests must not fit as complete, go to folders of their own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
LEFT_OUT = "xiv_"  # random slopes
KINDS = ("observed", "mlr", "observed_fixedxF", "mlr_fixedxF")
MEASURES = (
    "npar", "chisq", "df", "pvalue", "chisq.scaled", "pvalue.scaled", "chisq.scaling.factor", "baseline.chisq",
    "baseline.df", "baseline.chisq.scaled", "cfi", "tli", "cfi.scaled", "tli.scaled", "logl", "unrestricted.logl",
    "aic", "bic", "rmsea", "rmsea.ci.lower", "rmsea.ci.upper", "rmsea.scaled", "srmr_within", "srmr_between",
    "scaling.factor.h0", "scaling.factor.h1",
)  # fmt: skip


def measures(found: dict) -> dict:
    return {name: found[name] for name in MEASURES if name in found}


def trimmed(fit: dict) -> dict:
    extra = {key: fit[key] for key in ("logl", "unrestricted_logl", "srmr_within", "srmr_between")}
    kept = {
        "fixed.x": fit["fixed.x"],
        "measures": measures(fit["fit_measures"]) | extra,
        "icc": fit["icc"],
        "standardized": [
            [row["lhs"], row["op"], row["rhs"], raw["level"], row["est.std"], row["se"]]
            for row, raw in zip(fit["standardized"], fit["par"], strict=True)
        ],
    }
    if any(level.get("chisq") is not None for level in fit["level_specific_fit"] or []):
        kept["levels"] = [measures(level) for level in fit["level_specific_fit"]]
        kept["h1"] = fit["h1"]
    return kept


def main(source: Path) -> None:
    owner: dict[str, str] = {}
    for folder in sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith(LEFT_OUT)):
        content = json.loads((folder / "result.json").read_text())
        fits = {name: trimmed(content["fits"][name]) for name in KINDS if name in content["fits"]}
        if not fits["observed"]["fixed.x"]:  # the other two are the same fits
            fits = {name: fit for name, fit in fits.items() if not name.endswith("_fixedxF")}
        digest = hashlib.sha256((folder / "data.csv").read_bytes()).hexdigest()
        stored = {"case": folder.name, "version": content["version"], "data": owner.setdefault(digest, folder.name)}
        (HERE / f"{folder.name}.json").write_text(json.dumps(stored | {"fits": fits}) + "\n")
        if folder.name.startswith("xii_"):
            target = HERE.parent / folder.name
            target.mkdir(exist_ok=True)
            if stored["data"] == folder.name:
                shutil.copy(folder / "data.csv", target)
            shutil.copy(folder / "model.lav", target)
            shutil.copy(folder / "result_tight.json", target / "tight_fiml.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
