"""How records become results that speak, and lines become text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import wraps
from inspect import cleandoc, signature
from typing import Any, ParamSpec, TypeVar

from simstudy.report.tables.text import Line

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def content(record: Any) -> dict[str, Any]:
    """The fields of a record, as they are: what a class that adds methods to it is made of."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def text_of(lines: Iterable[Line]) -> str:
    """Lines as one text."""
    return "\n".join(line.text for line in lines)


def returning(make: Callable[[R], T], function: Callable[P, R], name: str) -> Callable[P, T]:
    """The public call ``name``: ``function`` with its arguments and its docstring, its record made to speak.

    The docstring names what is returned as the public class does.
    """

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        return make(function(*args, **options))

    record, public = str(signature(function).return_annotation), str(signature(make).return_annotation)
    call.__name__ = call.__qualname__ = name
    call.__module__ = "simstudy"
    call.__signature__ = signature(function).replace(return_annotation=public)  # type: ignore[attr-defined]
    named = rf"^( *){re.escape(record)}$"
    call.__doc__ = re.sub(named, rf"\1{public}", cleandoc(function.__doc__ or ""), flags=re.MULTILINE)
    return call
