"""Starter designs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simstudy.design.templates import template_names, template_text, template_title
from simstudy.errors import SimstudyError
from simstudy.runner.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd


def templates() -> pd.DataFrame:
    """Every template: name, and what it is."""
    import pandas as pd

    return pd.DataFrame(titles(), columns=["template", "title"])


def titles() -> list[tuple[str, str]]:
    """Name and title of every template."""
    return [(name, template_title(name)) for name in template_names()]


def init(template: str, out: str | Path | None = None) -> Path:
    """Write a starter design.

    Parameters
    ----------
    template : str
        Name of the template.
    out : path, optional
        File to write; ``<template>.toml`` in the current folder by default.

    Raises
    ------
    SimstudyError
        If there is no such template, or the file is there already.

    Examples
    --------
    >>> import simstudy
    >>> path = simstudy.init("contextual")
    >>> path.name
    'contextual.toml'
    """
    text = template_text(template)
    path = Path(f"{template}.toml") if out is None else Path(out)
    if path.is_dir():
        path = path / f"{template}.toml"
    if path.exists():
        raise SimstudyError(f"{path}: this file is there already; give another name with --out, or delete it")
    write_bytes(path, text.encode())
    return path
