"""Commands made from requests: arguments, options, defaults and help are those that the Python call has."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from simstudy.errors import SimstudyError
from simstudy.requests.option import Argument, Declared, Option, declared

R = TypeVar("R")


def options_of(request: type[R]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a request, beside its own.

    The function's first parameter is the request, made from the command line; the others are the command's own, which
    may take the place of a field (as ``--option KEY=VALUE`` does).
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        taken = [one for one in declared(request) if isinstance(one.kind, Option)]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            function(_read(request, taken, given), **{one.name: given[one.name] for one in own})

        parameters = [_parameter(one) for one in taken]
        parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate


def _read(request: type[R], taken: Sequence[Declared], given: dict[str, Any]) -> R:
    """The request; what cannot be read is reported together."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for one in taken:
        value = given[one.name]
        if value is None or value == []:  # not given
            continue
        assert isinstance(one.kind, Option)
        try:
            values[one.name] = value if one.kind.read is None else one.kind.read(value)
        except SimstudyError as error:
            problems += error.problems
    if problems:
        raise SimstudyError(problems)
    return request(**values)


def _parameter(one: Declared) -> inspect.Parameter:
    """What typer makes an argument or an option of."""
    kind = one.kind
    assert isinstance(kind, Option)
    required = one.default is inspect.Parameter.empty
    if isinstance(kind, Argument):
        info = typer.Argument(metavar=kind.metavar, help=kind.help, show_default=False)
    else:
        names = [] if one.default is True else [one.flag]  # a switch that is on gets its --no- form from typer
        info = typer.Option(*names, metavar=kind.metavar, help=kind.help, show_default=not required)
    hint = _on_the_command_line(one.type) if kind.type is None else kind.type
    default = None if one.default == () else one.default
    if default is None and not _is_optional(hint):
        hint = hint | None
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, info]
    )


def _is_optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _on_the_command_line(hint: Any) -> Any:
    """A field's type as typer reads it: a path for what may be a path, a list for a sequence."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    given = [part for part in parts if part is not type(None)]
    if Path in given:
        found: Any = Path
    else:
        (found,) = given
    if typing.get_origin(found) is Sequence:
        found = list[typing.get_args(found)]  # type: ignore[misc]
    return found | None if type(None) in parts else found
