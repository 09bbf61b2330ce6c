"""Methods: what there is, and the story that they make."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import TYPE_CHECKING, Any

from simstudy.methods import registry

if TYPE_CHECKING:
    import pandas as pd

STORY = ("estimator", "year", "title", "idea", "levels", "options", "can", "cannot", "same_as", "reference", "theory")


def estimators() -> pd.DataFrame:
    """Every known method, in teaching order.

    Returns
    -------
    DataFrame
        Columns estimator, year (missing where a method gives none), title, idea, levels, options, can, cannot, same_as
        (another method with the same numbers), reference, theory (sections of the documentation with its formulas).

    Examples
    --------
    >>> import simstudy
    >>> table = simstudy.estimators()
    >>> table.loc[table["estimator"] == "muml", ["year", "levels"]].values.tolist()
    [[1989, 'within, between']]
    """
    import pandas as pd

    return pd.DataFrame(story(), columns=list(STORY)).astype({"year": "Int64"})


def story() -> list[dict[str, Any]]:
    """What `estimators` tells, a record a method; ``year`` is None where a method gives none."""
    return [_told(name) for name in registry.names()]


def describe_estimator(name: str) -> dict[str, Any]:
    """One method in full: what `estimators` tells, and ``details``, its docstring.

    Raises
    ------
    EstimatorError
        Unknown name; the message names the closest known one.

    Examples
    --------
    >>> from simstudy import api
    >>> api.describe_estimator("croon")["reference"]
    'Croon & van Veldhoven (2007)'
    """
    text = inspect.getdoc(registry.find(name)) or ""
    return {**_told(name), "details": re.sub(r"^Attributes\n-+$", "Options", text, flags=re.MULTILINE)}


def _told(name: str) -> dict[str, Any]:
    cls = registry.find(name)
    return {
        "estimator": name,
        "year": cls.year,
        "title": cls.title,
        "idea": cls.idea,
        "levels": ", ".join(cls.levels),
        "options": "; ".join(_options(cls)),
        "can": cls.can,
        "cannot": cls.cannot,
        "same_as": cls.same_as,
        "reference": cls.reference,
        "theory": "; ".join(cls.theory),
    }


def _options(cls: Any) -> list[str]:
    """``name = default (or other, ...)`` for every option."""
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # annotations of a plug-in that name what is imported for type checkers alone
        hints = {}
    found = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        allowed, several = _choices(hints.get(field.name))
        given = list(default) if several and isinstance(default, tuple) else [default]
        others = [value for value in allowed if value not in given]
        shown = "no default" if default is dataclasses.MISSING else " and ".join(_written(value) for value in given)
        rest = f" ({'also' if several else 'or'} {', '.join(_written(value) for value in others)})" if others else ""
        found.append(f"{field.name} = {shown}{rest}")
    return found


def _choices(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """Values that an annotation allows, if it lists them, and whether several may be given."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint), False
    if hint is bool:
        return (True, False), False
    if typing.get_origin(hint) is tuple:
        return _choices(typing.get_args(hint)[0])[0], True
    return (), False


def _written(value: Any) -> str:
    """As in a design file."""
    return str(value).lower() if isinstance(value, bool) else str(value)
