"""Packages and modules whose names are loaded on first use: what a command does not need, it does not import.

Such a package is two files. ``__init__.pyi`` is the list of its names, a line an import, which type checkers read;
``__init__.py`` is its docstring and ``__getattr__, __dir__, __all__ = attach(__name__)``. A module has its stub beside
it.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any


def homes(module: str) -> dict[str, str]:
    """Where each name of a package or module comes from: the imports of its type stub."""
    package, _, name = module.rpartition(".")
    is_package = hasattr(sys.modules[module], "__path__")
    text = pkgutil.get_data(*((module, "__init__.pyi") if is_package else (package, f"{name}.pyi")))
    assert text is not None
    statements = ast.parse(text).body
    return {
        alias.name: node.module
        for node in statements
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def attach(module: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package or module.

    A name that was asked for is kept, so that it is looked up once. Submodules are no names of the list:
    they are imported, as from any package.
    """
    where = homes(module)
    names = sorted(where)

    def load(name: str) -> Any:
        if name in where:
            found = getattr(importlib.import_module(where[name]), name)
            setattr(sys.modules[module], name, found)
            return found
        raise AttributeError(f"module '{module}' has no attribute '{name}'")

    def listed() -> list[str]:
        own = vars(sys.modules[module])
        return [*names, *(["__version__"] if "__version__" in own else [])]

    return load, listed, names


class Deferred:
    """A module that is imported when one of its names is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self._name), name)
        setattr(self, name, found)
        return found


special: Any = Deferred("scipy.special")
stats: Any = Deferred("scipy.stats")
