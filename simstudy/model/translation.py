"""What a translation of another program's model text is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Translation:
    """A model in this package's syntax.

    Attributes
    ----------
    model : str
        The model text; what could not be translated stands in comments.
    cluster : str
        Name of the cluster variable, empty where the text does not say.
    options : str
        Further options of ``simstudy fit``.
    notes : tuple of str
        What to know about it.
    """

    model: str
    cluster: str = ""
    options: str = ""
    notes: tuple[str, ...] = ()
