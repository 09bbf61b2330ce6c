"""Monte Carlo studies of multilevel structural equation modelling (MSEM).

Every command is one call: `run`, `analyse`, `plot`, `write_report`, `bias`, `plan`, `fit`, `fit_all`, ... What a call
returns has a short ``repr``, ``summary()``, a table in a notebook, ``to_frame()``, ``to_dict()``, and methods.

Names are loaded on first use, so that importing the package stays light. They are written once, in ``__init__.pyi``.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from typing import Any

__version__ = "0.1.0"


def _homes(stub: str) -> dict[str, str]:
    """Module of every public name, from the imports of a type stub."""
    text = pkgutil.get_data(__name__, stub)
    assert text is not None
    statements = ast.parse(text).body
    return {
        alias.name: node.module
        for node in statements
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


_HOMES = _homes("__init__.pyi")
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
