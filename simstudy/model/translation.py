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


@dataclass(frozen=True)
class Beside:
    """What a model text is given with, as far as a translation of it can tell the user more.

    Attributes
    ----------
    data : str
        Name of the data file.
    cluster : str
        Name of the cluster variable, empty if none was given.
    constant : frozenset of str, or None
        Columns of the data that are the same in all rows of every cluster; None if there are no data to look at.
    """

    data: str = "data.csv"
    cluster: str = ""
    constant: frozenset[str] | None = None
