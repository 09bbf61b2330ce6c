"""Plain-text tables and numbers, independent of where they are printed."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")
K = TypeVar("K")

NOT_AVAILABLE = "n/a"
"""No replicate entered."""
UNDEFINED = "-"
"""Replicates entered, but the number does not exist (no truth, truth 0, no SE)."""


class Line(NamedTuple):
    """One line of output and its rich style (``""``, ``"bold"``, ``"dim"``)."""

    text: str
    style: str = ""


class Number(NamedTuple):
    """A performance number as it is printed."""

    value: float
    mcse: float
    n: int


NOTHING = Number(math.nan, math.nan, 0)


def fixed(value: float, decimals: int) -> str:
    """Return a fixed number of decimals without a negative zero; three significant digits from 10,000 on."""
    if math.isnan(value):
        return UNDEFINED
    if math.isinf(value) or abs(value) >= 1e4:
        return f"{value:.3g}"
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


WIDE = 1e12
"""Sizes from which a number is printed with an exponent, as its decimals are no longer in it."""


def measured(value: float, decimals: int = 3, noise: float = 0.0) -> str:
    """Return a number in the user's units, which may be any: never 0 unless it is 0, large ones with their decimals.

    Numbers without a digit among the decimals, and very large ones, have an exponent. What is below ``noise`` (rounding
    errors of a number that is 0) is 0.
    """
    if math.isnan(value):
        return UNDEFINED
    size = abs(value)
    if size >= WIDE:
        return f"{value:.6g}"
    if noise < size < 0.5 * 10.0**-decimals:
        return f"{value:.2e}"
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def plain(number: Number, decimals: int) -> str:
    """Value only."""
    return NOT_AVAILABLE if number.n == 0 else fixed(number.value, decimals)


def with_mcse(number: Number, decimals: int) -> str:
    """Value and, in parentheses, its Monte Carlo standard error."""
    if number.n == 0 or math.isnan(number.value):
        return plain(number, decimals)
    return f"{fixed(number.value, decimals)} ({fixed(number.mcse, decimals)})"


def percent(number: Number) -> str:
    """Value in per cent with one decimal."""
    return plain(number, 1) if math.isnan(number.value) else f"{fixed(100.0 * number.value, 1)}%"


def percent_with_mcse(number: Number) -> str:
    """Value and Monte Carlo standard error in per cent."""
    if number.n == 0 or math.isnan(number.value):
        return percent(number)
    return f"{percent(number)} ({fixed(100.0 * number.mcse, 1)}%)"


def setting(value: object) -> str:
    """Level of a factor as a reader would write it: 0.05, 50, uniform(2,18)."""
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    """Lines of at most `width` characters, the second and later ones indented."""
    return textwrap.wrap(text, max(width, 40), subsequent_indent=indent, break_on_hyphens=False) or [""]


def beside(items: Sequence[T], make: Callable[[Sequence[T]], TextTable], width: int) -> list[TextTable]:
    """Tables of as many items beside each other as fit in a width; the others go below, in tables of their own."""
    left, tables = list(items), []
    while left:
        count = len(left)
        while count > 1 and make(left[:count]).width() > width:
            count -= 1
        tables.append(make(left[:count]))
        left = left[count:]
    return tables


def narrowed(
    columns: Sequence[str], dropped_first: Sequence[str], make: Callable[[list[str]], Mapping[K, TextTable]], width: int
) -> tuple[Mapping[K, TextTable], list[str]]:
    """Tables of some columns, without those that may go first where a table is too wide; and what was dropped."""
    left, dropped = list(columns), []
    tables = make(left)
    for candidate in (name for name in dropped_first if name in columns):
        if max((table.width() for table in tables.values()), default=0) <= width:
            break
        left.remove(candidate)
        dropped.append(candidate)
        tables = make(left)
    return tables, dropped


@dataclass(frozen=True)
class TextTable:
    """Columns of text: the one model of a table, which `render` writes in several formats.

    Parameters
    ----------
    header : tuple of str
        Column headings; empty for a table without.
    rows : tuple of tuple of str
        Cells.
    left : int
        Number of columns, from the left, that are aligned to the left.
    groups : tuple of (str, int)
        Headings above the columns and how many columns each spans, from the left; empty for none.
    title : str
        What the table shows, printed above it.
    context : str
        Where it belongs, as the heading above says; part of the caption where a table stands alone.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    groups: tuple[tuple[str, int], ...] = ()
    title: str = ""
    context: str = ""

    @property
    def caption(self) -> str:
        """Title and context."""
        return ". ".join(part for part in (self.title, self.context) if part)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.header) or max((len(row) for row in self.rows), default=0)

    def widths(self) -> list[int]:
        """Width of each column; the last column of a group makes room for the group's heading."""
        filled = [row for row in (self.header, *self.rows) if row]
        widths = [max(len(row[column]) for row in filled) for column in range(self.n_columns)]
        last = -1
        for heading, span in self.groups:
            last += span
            own = sum(widths[last - span + 1 : last + 1]) + 2 * (span - 1)
            widths[last] += max(len(heading) - own, 0)
        return widths

    def width(self) -> int:
        """Width of the whole table."""
        return sum(self.widths()) + 2 * (self.n_columns - 1)

    def lines(self) -> list[Line]:
        """Headings (bold) and rows."""
        widths = self.widths()

        def laid_out(cells: Sequence[str]) -> str:
            parts = (
                cell.ljust(width) if column < self.left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return "  ".join(parts).rstrip()

        head = [Line(laid_out(self.header), "bold")] if self.header else []
        if self.groups:
            parts, last = [], 0
            for heading, span in self.groups:
                parts.append(heading.center(sum(widths[last : last + span]) + 2 * (span - 1)))
                last += span
            head.insert(0, Line("  ".join(parts).rstrip(), "bold"))
        return [*head, *(Line(laid_out(row)) for row in self.rows)]
