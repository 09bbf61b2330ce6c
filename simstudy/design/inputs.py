"""A design in any form: read already, a file, the text of one, or a dict of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from simstudy.design.design import Design
from simstudy.design.load import find_modules_beside, load_design, parse_design
from simstudy.design.toml import to_toml

DesignLike: TypeAlias = Design | str | Path | Mapping[str, Any]
"""A design, a design file, its text, or a dict of its tables."""
NAME = "design"
"""What messages call a design that is no file."""


def design_text(design: DesignLike) -> str | None:
    """The text of a design that is at hand; None where it is the name of a file."""
    if isinstance(design, Design):
        return design.text
    if isinstance(design, Mapping):
        return to_toml(design)
    return design if isinstance(design, str) and "\n" in design else None


def as_design(design: DesignLike) -> Design:
    """Read and check a design.

    Methods in modules beside a file (``"module:Attr"``) are found: its folder goes to the end of ``sys.path``, so that
    it hides no other module.

    Raises
    ------
    DesignError
        One message a problem.
    """
    if isinstance(design, Design):
        return design
    text = design_text(design)
    if text is not None:
        return parse_design(text, NAME)
    assert not isinstance(design, Mapping)
    find_modules_beside(design)
    return load_design(design)
