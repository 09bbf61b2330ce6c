"""How figures look: the looks of methods, sizes of text, greys; the same in every figure of every study.

Figures are drawn at the size at which they are printed (a page is 7.2 inches wide), so that text sizes are what they
say. Methods bring their colours and markers with them (`simstudy.methods.look`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from simstudy.methods import registry
from simstudy.methods.look import COLOURS, LINES, Look

P = ParamSpec("P")
T = TypeVar("T")

FONT = "DejaVu Sans"
"""Comes with matplotlib, so it is there on every machine."""
TITLE, LABEL, STRIP, TICK, KEY, NOTE = 9.5, 8.0, 7.5, 7.0, 7.5, 6.5
"""Points: title, axis labels, panel titles, tick labels, legend, notes."""
SMALLEST = 5.5
"""Points: numbers inside panels."""
PAGE, LANDSCAPE, COLUMN = 7.2, 10.4, 4.6
"""Inches: widths of a full page, of a page turned, of a figure with one panel."""
SAFETY = 1.06
"""Measured widths are without the room at both ends of a letter."""
DPI = 220
INK, REFERENCE_GREY, BAND_GREY, GRID_GREY = "0.10", "0.35", "0.92", "0.93"
SETTINGS: Mapping[str, Any] = {
    "font.family": FONT,
    "font.size": LABEL,
    "mathtext.fontset": "dejavusans",
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.25",
    "axes.unicode_minus": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "simstudy",
}

_SPARE: tuple[tuple[str, bool], ...] = (
    ("s", True), ("8", False), ("*", False), ("8", True), ("D", True), ("p", True), ("^", False), ("h", False),
    ("d", False),
)  # fmt: skip
"""Markers that no method brings along."""


def method_looks(names: Sequence[str]) -> dict[str, Look]:
    """Looks of methods: a method that brings none gets one that follows from its name.

    Two such methods get the same look only if there are more of them than spare markers and colours.
    """
    found = {name: look for name in names if (look := registry.look_of(name)) is not None}
    taken: set[Look] = set()
    for name in sorted({name for name in names if name not in found}):
        code = zlib.crc32(name.encode())
        order = [(code + step) % len(_SPARE) for step in range(len(_SPARE))]
        used = {(style.marker, style.filled) for style in taken}
        free = [place for place in order if _SPARE[place] not in used] or order
        colours = [COLOURS[(code // 16 + step) % len(COLOURS)] for step in range(len(COLOURS))]
        fresh = [colour for colour in colours if colour not in {style.colour for style in taken}] or colours
        looks = [Look(c, *_SPARE[free[0]], LINES[(code // 128) % len(LINES)]) for c in (*fresh, *colours)]
        style = next((look for look in looks if look not in taken), looks[0])
        taken.add(style)
        found[name] = style
    return {name: found[name] for name in names}


def band_alpha(count: int) -> float:
    """Opacity of MCSE bands: many that lie on each other must not become one dark band."""
    return max(0.08, 0.20 - 0.015 * count)


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw with the settings of this module, whatever the reader's matplotlib is set to."""

    @wraps(function)
    def drawn(*args: P.args, **options: P.kwargs) -> T:
        from matplotlib import rc_context

        settings: Any = SETTINGS
        with rc_context(settings):
            return function(*args, **options)

    return drawn


@lru_cache(maxsize=8192)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of one line of text, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONT, weight="bold" if bold else "normal", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72.0


def line_height(size: float) -> float:
    """Height of a line of text, in inches."""
    return 1.25 * size / 72.0


def wrap(text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """Lines no wider than `width` inches, cut at plain spaces.

    A word that is wider is cut, preferably at a space that holds words together, or behind ``_ : . , )``.
    """
    lines: list[str] = []
    if not text:
        return lines
    for word in text.split(" "):
        trial = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(trial, size, bold=bold) <= width:
            lines[-1] = trial
            continue
        lines.append(word)
        while text_width(lines[-1], size, bold=bold) > width and len(lines[-1]) > 1:
            head = _cut(lines[-1], width, size, bold)
            lines[-1:] = [lines[-1][:head].rstrip("\u00a0"), lines[-1][head:].lstrip("\u00a0")]
    return lines


def _cut(word: str, width: float, size: float, bold: bool) -> int:
    """Number of characters of a long word that fit."""
    fits = max((k for k in range(1, len(word)) if text_width(word[:k], size, bold=bold) <= width), default=1)
    nice = [k for k in range(fits, max(fits // 2, 1), -1) if word[k - 1] in "_:.,)~-/\u00a0"]
    return nice[0] if nice else fits
