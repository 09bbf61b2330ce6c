"""Imports follow the layer order of CONTRIBUTING.md, and importing the model stays light.

Reads the source (``ast``), so that an import inside a function or under ``if TYPE_CHECKING:`` counts for the order too.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "simstudy"

# From left to right; a module imports only from its own layer and from those to its left.
LAYERS = (
    "errors",
    "requests",
    "linalg",
    "model",
    "data",
    "population",
    "likelihood",
    "estimation",
    "methods",
    "analysis",
    "design",
    "runner",
    "performance",
    "asymptotics",
    "planning",
    "report",
    "api",
    "commands",
    "cli",
)
# Constants of the build and how packages are loaded, importable from everywhere; they import nothing of the package.
BOTTOM = ("_version", "__version__", "lazy")
# On top of every layer: these may import anything, and no layer may import them.
TOP = ("__init__", "__main__", "extend", "testing")

# Name types of every layer in annotations, and import none of them when they run.
TYPES_ONLY = ("requests",)

# Imported by a layer although it stands to its left. Performance works on any table, whoever made the estimates.
FORBIDDEN = {"performance": {"estimation", "methods"}}

# Slow to import: the layers whose modules may do so at their top level. Elsewhere, inside the function that needs it.
HEAVY: dict[str, set[str]] = {
    "matplotlib": {"report"},
    "statsmodels": set(),
    "jinja2": set(),
    "typer": {"runner", "report", "commands", "cli"},
    "rich": {"runner", "report", "api", "commands", "cli"},
}


@dataclass(frozen=True)
class Import:
    """One imported name: ``simstudy.model.syntax`` or ``numpy.linalg``, and where it stands."""

    target: str
    line: int
    at_import_time: bool


def imports(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """Yield what ``source``, the text of ``module``, imports; relative imports are resolved."""
    package = module if is_package else module.rpartition(".")[0]
    yield from _imports(ast.parse(source), package, at_import_time=True)


def _imports(node: ast.AST, package: str, at_import_time: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                for alias in child.names:
                    yield Import(alias.name, child.lineno, at_import_time)
            case ast.ImportFrom():
                base = child.module or ""
                if child.level:
                    parent = package.split(".")[: len(package.split(".")) - child.level + 1]
                    base = ".".join([*parent, base] if base else parent)
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}", child.lineno, at_import_time)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ) if not name.startswith("."):
                yield Import(name, child.lineno, at_import_time)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports(child, package, at_import_time=False)
            case ast.If() if "TYPE_CHECKING" in ast.unparse(child.test):
                for part in child.body:
                    yield from _imports(ast.Module([part], []), package, at_import_time=False)
                for part in child.orelse:
                    yield from _imports(ast.Module([part], []), package, at_import_time)
            case _:
                yield from _imports(child, package, at_import_time)


def layer_of(target: str) -> str:
    """Return the first part below the package: ``model`` of ``simstudy.model.syntax``."""
    return [*target.split("."), "__init__"][1]


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return a message for each import of ``module`` that the layers do not allow."""
    layer = layer_of(module)
    if layer in TOP:
        return []
    found = []
    for item in imports(source, module, is_package):
        top_name, *rest = item.target.split(".")
        problem = ""
        if top_name != PACKAGE:
            if item.at_import_time and layer not in HEAVY.get(top_name, {layer}):
                problem = "is slow to import: import it inside the function that needs it"
        elif not rest or (other := layer_of(item.target)) not in (*LAYERS, *BOTTOM):
            problem = "is not a layer: import from the module that defines it"
        elif other in FORBIDDEN.get(layer, ()):
            problem = f"is never imported by {layer}"
        elif layer in TYPES_ONLY and not item.at_import_time:
            continue
        elif other not in BOTTOM and (layer in BOTTOM or LAYERS.index(other) > LAYERS.index(layer)):
            problem = f"stands to the right of {layer}"
        if problem:
            found.append(f"{module}:{item.line}: {item.target} {problem}")
    return found


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the path of every module of the package."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def test_every_module_has_a_layer() -> None:
    """A new top-level module or package must be given its place in ``LAYERS`` (and in CONTRIBUTING.md)."""
    assert MODULES
    assert {layer_of(name) for name in MODULES} <= {*LAYERS, *BOTTOM, *TOP}


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_layers(module: str) -> None:
    path = MODULES[module]
    assert violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


def test_contributing_gives_the_same_order() -> None:
    order = " < ".join(LAYERS).replace("errors < requests < linalg", "errors, requests, linalg")
    assert order in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


DRAWING = {"matplotlib", "statsmodels", "jinja2"}
UNUSED = DRAWING | {"scipy.stats", "scipy.optimize", "scipy.linalg", "joblib"}
TABLES = UNUSED | {"pandas", "pyarrow", "scipy"}
# What is run -> what it does without. The whole path counts, ``simstudy/__init__.py`` and the exempt modules included.
LIGHT: dict[str, set[str]] = {
    "import simstudy": TABLES | {"numpy", "pydantic", "typer", "rich"},
    "import simstudy.model": TABLES | {"pydantic", "typer", "rich"},
    "import simstudy.methods": TABLES | {"pydantic", "typer", "rich"},
    "--help": TABLES | {"numpy", "simstudy.model", "simstudy.methods"},
    "init contextual --out -": TABLES | {"numpy", "simstudy.model", "simstudy.methods"},
    "init": TABLES | {"numpy", "simstudy.model", "simstudy.methods"},
    "estimators": TABLES,
    "estimators --full": TABLES,
    "fit model.txt data.csv --cluster school": UNUSED | {"simstudy.design", "simstudy.performance", "simstudy.runner"},
}


@pytest.mark.parametrize("what", LIGHT)
def test_what_is_not_needed_is_not_loaded(what: str, tmp_path: Path) -> None:
    """What a command does not need is not imported: half a second for pandas, one for `scipy.stats`."""
    (tmp_path / "model.txt").write_text("level: within\n  y ~ x\nlevel: between\n  y ~ x\n")
    rows = [f"{j},{j % 7 + i * i % 5},{(j * i) % 11 - i}" for j in range(20) for i in range(6)]
    (tmp_path / "data.csv").write_text("\n".join(["school,y,x", *rows]))
    command = f"import sys; from simstudy.cli import main; sys.argv[1:] = {what.split()!r}; main()"
    code = what if what.startswith("import ") else command
    look = f"import atexit, sys; atexit.register(lambda: print(*{LIGHT[what]!r} & set(sys.modules), file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{look}\n{code}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.split() == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("simstudy.model.syntax", "from simstudy.errors import ModelError"),
        ("simstudy.model.syntax", "from . import parameters"),
        ("simstudy.model.syntax", "from ..linalg.stacked import cholesky"),
        ("simstudy.linalg.stacked", "from simstudy import errors"),
        ("simstudy.runner.store", "from simstudy._version import __version__"),
        ("simstudy.runner.store", "from simstudy import __version__"),
        ("simstudy.report.figures", "import matplotlib.pyplot as plt"),
        ("simstudy.methods.mixed.mlm", "def fit():\n    import statsmodels.api"),
        ("simstudy.model.syntax", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
        ("simstudy.cli", "from simstudy.report.html import write"),
        ("simstudy.testing", "from simstudy.cli import main"),
        ("simstudy.model.syntax", "import numpy.linalg"),
        ("simstudy.requests.run", "if TYPE_CHECKING:\n    from simstudy.design import Design"),
    ],
)
def test_allowed(module: str, source: str) -> None:
    assert violations(source, module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("simstudy.errors", "from simstudy.linalg.stacked import cholesky"),
        ("simstudy.requests.run", "from simstudy.design import Design"),
        ("simstudy.model.syntax", "from simstudy.data.sample import Sample"),
        ("simstudy.model.syntax", "from simstudy import data"),
        ("simstudy.model.syntax", "from .. import data"),
        ("simstudy.model.syntax", "from ..data.sample import Sample"),
        ("simstudy.model.syntax", "import simstudy.data.sample as sample"),
        ("simstudy.model.syntax", "def f():\n    from simstudy.data.sample import Sample"),
        ("simstudy.model.syntax", "if TYPE_CHECKING:\n    from simstudy.data.sample import Sample"),
        ("simstudy.model.syntax", "if typing.TYPE_CHECKING:\n    import simstudy.runner"),
        ("simstudy.model.syntax", "sample = importlib.import_module('simstudy.data.sample')"),
        ("simstudy.performance.table", "from simstudy.estimation.result import Status"),
        ("simstudy.runner.backends.local", "from simstudy import fit"),
        ("simstudy.runner.backends.local", "import simstudy"),
        ("simstudy.runner.backends.local", "from simstudy.testing import check_estimator"),
        ("simstudy.methods.msem", "from simstudy.extend import register"),
        ("simstudy.runner.backends.local", "from simstudy.cli import main"),
        ("simstudy.model.syntax", "import matplotlib.pyplot as plt"),
        ("simstudy.model.syntax", "try:\n    from rich import print\nexcept ImportError:\n    pass"),
        ("simstudy.model.syntax", "if TYPE_CHECKING:\n    pass\nelse:\n    import typer"),
        ("simstudy.report.html", "from jinja2 import Template"),
        ("simstudy._version", "from simstudy.errors import SimstudyError"),
    ],
)
def test_caught(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


def test_a_package_resolves_its_own_relative_imports() -> None:
    assert violations("from .syntax import parse", "simstudy.model", is_package=True) == []
    assert len(violations("from ..data import layout", "simstudy.model", is_package=True)) == 1


# ---------------------------------------------------------------------- questions to methods

ASKED = {
    "for_model",
    "supports",
    "prepare",
    "caveats",
    "failure_notes",
    "slope_meaning",
    "likelihood_of",
    "exact_numbers",
    "of_sample",
    "prepare_slopes",
    "on_sums",
}
"""Members of a method or of a kind of data that run code from elsewhere."""


def bare_questions(source: str, layer: str) -> list[int]:
    """Lines that name a method's own member, where `simstudy.methods.ask` should be asked."""
    members = ASKED if layer == "report" else {*ASKED, "draw"}  # figures are drawn, too
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in members
        and not (isinstance(node.value, ast.Name) and node.value.id == "ask")
    ]


# Methods ask each other; what they are asked with is walled. These two are part of the wall itself.
OF_METHODS = {"simstudy.methods.listwise", "simstudy.methods.registry", "simstudy.methods.wall"}


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) != "methods" or name in OF_METHODS])
def test_methods_are_asked_behind_the_wall(module: str) -> None:
    assert bare_questions(MODULES[module].read_text(encoding="utf-8"), layer_of(module)) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("ask.supports(method, model, layout)", []),
        ("method.supports(model, layout)", [1]),
        ("walled(method.prepare, model)\ndata_kind(method.needs).draw(population, 1, range(3))", [1, 2]),
    ],
)
def test_bare_questions_are_caught(source: str, lines: list[int]) -> None:
    assert bare_questions(source, "analysis") == lines
