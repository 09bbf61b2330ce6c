"""`manifest.json`: whose results a folder holds, and what made them."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from simstudy.design import Design
from simstudy.errors import StoreError
from simstudy.methods import ask
from simstudy.runner.files import write_bytes
from simstudy.runner.todo import method_digests

MANIFEST = "manifest.json"
FORMAT = 1
PACKAGES = ("numpy", "scipy", "pandas", "pyarrow")


@dataclass(frozen=True)
class Manifest:
    """Contents of `manifest.json`.

    Attributes
    ----------
    format : int
        Of the folder.
    name, design_digest, design_text : str
        Of the study; the digest leaves out the number of replications and the methods.
    seed, replications : int
    methods : dict of str to str
        Name of each method, in order, and the digest of its options.
    factors : tuple of str
    level : float
        Of the intervals.
    block_size : int
        Replicates a part.
    versions : dict of str to str
        Python and packages that began the folder.
    platform, created, updated : str
    cell_replications : dict of int to int
        Replications asked for of each cell, where they differ; otherwise empty.
    until : dict
        Precision that decided the numbers of replications: targets, start, maximum, methods, parameters; otherwise
        empty.
    diagnostics : dict of str to dict
        What methods tell of every fit beside the usual fit measures: name, and its label, meaning, and what is better.
    likelihoods : dict of str to str
        What each method's log-likelihood is of, in words.
    """

    format: int
    name: str
    design_digest: str
    design_text: str
    seed: int
    replications: int
    methods: dict[str, str]
    factors: tuple[str, ...]
    level: float
    block_size: int
    versions: dict[str, str]
    platform: str
    created: str
    updated: str
    cell_replications: dict[int, int] = field(default_factory=dict)
    until: dict[str, Any] = field(default_factory=dict)
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)
    likelihoods: dict[str, str] = field(default_factory=dict)

    def replications_of(self, cell: int) -> int:
        """Replications asked for of a cell."""
        return self.cell_replications.get(cell, self.replications)


def short(digest: str) -> str:
    """A digest as messages show it."""
    return digest[:12]


def current_versions() -> dict[str, str]:
    """Versions that numbers may depend on."""
    found = {"python": platform.python_version(), "simstudy": str(vars(sys.modules["simstudy"])["__version__"])}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["linear algebra"] = linear_algebra()
    return found


def linear_algebra() -> str:
    """The BLAS in use and the kind of processor its kernels are for: last digits depend on it."""
    libraries = [entry for entry in threadpool_info() if entry.get("user_api") == "blas"]
    if not libraries:
        return "unknown"
    first = min(libraries, key=lambda entry: "numpy" not in str(entry.get("filepath")))  # SciPy has one of its own
    return " ".join(str(first.get(key, "")) for key in ("internal_api", "version", "architecture")).strip()


def version_changes(manifest: Manifest, now: Mapping[str, str]) -> str:
    """What differs between the versions that began a folder and others, in words; empty if nothing does."""
    before = manifest.versions
    return ", ".join(f"{name} {then} -> {now.get(name)}" for name, then in before.items() if now.get(name) != then)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def manifest_of(design: Design, block_size: int) -> Manifest:
    """Manifest of a folder begun now."""
    now = _now()
    return Manifest(
        format=FORMAT,
        name=design.name,
        design_digest=design.digest,
        design_text=design.text,
        seed=design.seed,
        replications=design.replications,
        methods=method_digests(design),
        factors=tuple(design.factor_names),
        level=design.intervals.level,
        block_size=block_size,
        versions=current_versions(),
        platform=f"{platform.platform()} {platform.machine()} {sys.implementation.name}",
        created=now,
        updated=now,
        diagnostics={
            one.name: {"label": one.label, "meaning": one.meaning, "better": one.better}
            for entry in design.estimators
            for one in entry.estimator.diagnostics
        },
        likelihoods={
            entry.name: ask.likelihood_of(entry.estimator, design.model)[0].sentence for entry in design.estimators
        },
    )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, whole or not at all."""
    write_bytes(root / MANIFEST, (json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n").encode())


def read_manifest(root: Path) -> Manifest:
    """Read `manifest.json`.

    Raises
    ------
    StoreError
        If the folder is not one of results, or its manifest cannot be read.
    """
    path = root / MANIFEST
    if not root.is_dir():
        raise StoreError(f"{root}: there is no such results folder")
    if not path.is_file():
        raise StoreError(f"{root}: this is not a results folder, it has no {MANIFEST}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise StoreError(
                f"{root}: its format is {values['format']}; this version of simstudy knows {FORMAT}. "
                "Use the version that made it, or another folder"
            )
        known = {field.name for field in fields(Manifest)}
        found = Manifest(**{key: value for key, value in values.items() if key in known})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: it cannot be read ({error}); restore it, or delete the folder") from error
    per_cell = {int(cell): n for cell, n in found.cell_replications.items()}
    return Manifest(**{**vars(found), "factors": tuple(found.factors), "cell_replications": per_cell})
