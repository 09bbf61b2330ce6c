"""How a method looks in every figure of every study: colour, marker and line. No drawing happens here.

Colours are those of Okabe & Ito (2008, Color Universal Design) without the yellow that vanishes on white paper; each
method has a marker of its own too, so that none is lost in grey print or to a colour-blind reader. A colour is a
family: single level, cluster means and pooled matrices, random intercepts, centred, two steps, latent means, full
information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

LineStyle: TypeAlias = Literal["-"] | tuple[float, Sequence[float]]

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
COLOURS: tuple[str, ...] = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
SOLID: LineStyle = "-"
DASH, DOT = (0.0, (4.0, 1.5)), (0.0, (1.2, 1.2))
LONG_DASH, DASH_DOT, DASH_DOT_DOT = (
    (0.0, (8.0, 2.0)),
    (0.0, (5.0, 1.5, 1.2, 1.5)),
    (0.0, (4.0, 1.3, 1.2, 1.3, 1.2, 1.3)),
)
LINES: tuple[LineStyle, ...] = (SOLID, DASH, DOT, LONG_DASH, DASH_DOT, DASH_DOT_DOT)


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of one method; marker and filling together are no other built-in method's.

    Parameters
    ----------
    colour : str
        Hexadecimal RGB.
    marker : str
        Matplotlib marker.
    filled : bool
        Whether the marker is filled.
    line : str or tuple
        Matplotlib line style.
    """

    colour: str
    marker: str
    filled: bool
    line: LineStyle

    @property
    def face(self) -> str:
        """Colour inside the marker."""
        return self.colour if self.filled else "white"
