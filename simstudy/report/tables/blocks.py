"""What a table's page is made of, whatever it is written as: headings, text, definitions and tables.

A style lays a study out as blocks; `render` writes blocks as plain text, LaTeX, HTML or Markdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from simstudy.report.tables.text import TextTable


@dataclass(frozen=True)
class Heading:
    """A heading.

    Parameters
    ----------
    text : str
    level : int
        1 for the page, 2 for a part of it.
    """

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text.

    Parameters
    ----------
    text : str
    quiet : bool
        A remark, printed less prominently.
    """

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Definitions:
    """Terms and what they mean.

    Parameters
    ----------
    title : str
    items : tuple of (str, str)
    """

    title: str
    items: tuple[tuple[str, str], ...]


Block: TypeAlias = Heading | Paragraph | Definitions | TextTable
