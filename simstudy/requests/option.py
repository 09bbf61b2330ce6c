"""One declaration of each option: a field of a request, with its type, default, help and allowed values.

A request is a frozen dataclass whose fields are ``Annotated`` with an `Argument`, an `Option` or a `Keyword`. `takes`
gives a Python function its signature and the parameters of its docstring from it; `simstudy.commands.build` gives a
command its arguments and options.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from simstudy.errors import SimstudyError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_EMPTY = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class Keyword:
    """An option of the Python call alone.

    Attributes
    ----------
    help : str
        What it is, in a sentence or two.
    allowed : tuple of str
        Values it may have; empty: any.
    least : float, optional
        Smallest number it may be.
    inside : (float, float), optional
        Limits between which it lies.
    hint : str
        What else to say where a value is none of those allowed.
    """

    help: str
    _: dataclasses.KW_ONLY
    allowed: tuple[str, ...] = ()
    least: float | None = None
    inside: tuple[float, float] | None = None
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class Option(Keyword):
    """An option of the Python call and of the command.

    Attributes
    ----------
    flag : str
        Name on the command line, where it is not the field's; ``--map/--no-map`` for a choice of yes and no.
    metavar : str, optional
        What stands for the value in the command's help.
    more : str
        What is to be said about it in Python beyond `help`.
    type : type, optional
        Type on the command line, where it cannot be told from the field's.
    read : callable, optional
        Makes the field's value of what stands on the command line.
    """

    flag: str = ""
    metavar: str | None = None
    more: str = ""
    type: Any = None
    read: Callable[[Any], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Argument(Option):
    """An option that the command takes by its place."""


@dataclasses.dataclass(frozen=True)
class Declared:
    """A field of a request: `default` is ``inspect.Parameter.empty`` where it must be given."""

    name: str
    type: Any
    default: Any
    kind: Keyword
    keyword_only: bool

    @property
    def flag(self) -> str:
        """Name on the command line."""
        given = self.kind.flag if isinstance(self.kind, Option) else ""
        return given or f"--{self.name.replace('_', '-')}"


def placeholder(name: str, module: str = "simstudy") -> Any:
    """Stands for a type that is slow to import, where annotations are read when the program runs.

    `module` is where its users import it from: ``help`` shows it.
    """
    return type(name, (), {"__module__": module})


def declared(request: type[Any]) -> tuple[Declared, ...]:
    """Fields of a request: those that may be given by their place, then the others."""
    return _declared(typing.cast("Hashable", request))


@functools.lru_cache(maxsize=64)
def _declared(request: Any) -> tuple[Declared, ...]:
    hints = typing.get_type_hints(request, include_extras=True)
    found = []
    for field in dataclasses.fields(request):
        kind, *_ = hints[field.name].__metadata__
        given = field.default is not dataclasses.MISSING
        default = field.default if given else inspect.Parameter.empty
        found.append(Declared(field.name, hints[field.name].__origin__, default, kind, field.kw_only is True))
    return tuple(sorted(found, key=lambda one: one.keyword_only))


def takes(request: Callable[P, R], name: str | None = None) -> Callable[[Callable[[R], T]], Callable[P, T]]:
    """Let a function of a request be called with the request's fields.

    The function's signature, for type checkers and for ``help``, is that of the request; its docstring gets the
    section of parameters. ``name`` is what messages call it, where users know it by another one than its own.
    """

    def decorate(function: Callable[[R], T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> T:
            check_arguments(request, name or function.__name__, len(args), options)
            return function(request(*args, **options))

        fields = declared(typing.cast("type[Any]", request))
        returned = inspect.signature(function).return_annotation
        parameters = [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY if one.keyword_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=one.default,
                annotation=one.type,
            )
            for one in fields
        ]
        call.__signature__ = inspect.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
        call.__annotations__ = {one.name: one.type for one in fields} | {"return": returned}
        call.__doc__ = _with_parameters(inspect.cleandoc(function.__doc__ or ""), fields)
        return call

    return decorate


def check_arguments(request: Callable[..., Any], call: str, n_placed: int, options: Mapping[str, object]) -> None:
    """Refuse a call that does not fit the request's fields.

    Parameters
    ----------
    request : type
    call : str
        What messages call it.
    n_placed : int
        Number of arguments given by their place.
    options : mapping
        Those given by name.

    Raises
    ------
    SimstudyError
        One problem a name that is unknown (with the one that was probably meant), given twice or missing, and one for
        arguments too many.
    """
    fields = declared(typing.cast("type[Any]", request))
    known = [one.name for one in fields]
    problems = [
        f"{call}: there is no option '{name}'{did_you_mean(name, known)}; allowed: {', '.join(known)}"
        for name in options
        if name not in known
    ]
    by_place = [one.name for one in fields if not one.keyword_only]
    if n_placed > len(by_place):
        left = [one.name for one in fields if one.keyword_only and one.name not in options]
        first = next((one.name for one in fields if one.name in left and one.default is _EMPTY), (left or [""])[0])
        more = f"; give {first}=..." if first else ""
        problems.append(f"{call} takes {_counted(len(by_place), 'argument')} by position, found {n_placed}{more}")
    placed = by_place[:n_placed]
    problems += [f"{call}: '{name}' is given twice, by its place and by its name" for name in placed if name in options]
    problems += [
        f"{call}: '{one.name}' is missing"
        for one in fields
        if one.default is _EMPTY and one.name not in (*placed, *options)
    ]
    if problems:
        raise SimstudyError(problems)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def problems_of(request: Any, *, flags: bool = False) -> list[str]:
    """What is wrong with single values of a request: none of those allowed, or out of range.

    ``flags`` names the options as on the command line.
    """
    found = []
    for one in declared(type(request)):
        name = one.flag if flags else one.name
        found += [f"{name}: {problem}" for problem in _problems(getattr(request, one.name), one.kind)]
    return found


def check(request: Any, error: type[SimstudyError] = SimstudyError) -> None:
    """Raise an error with the problems of single values."""
    problems = problems_of(request)
    if problems:
        raise error(problems)


def _problems(value: Any, kind: Keyword) -> Iterator[str]:
    if value is None:
        return
    if kind.allowed and value not in kind.allowed:
        yield f"found '{value}'; allowed: {', '.join(kind.allowed)}{did_you_mean(str(value), kind.allowed)}{kind.hint}"
    if kind.least is not None and not value >= kind.least:
        yield f"found {value:,g}; allowed: {kind.least:,g} or more"
    if kind.inside is not None and not kind.inside[0] < value < kind.inside[1]:
        yield f"found {value:g}; allowed: between {kind.inside[0]:g} and {kind.inside[1]:g}"


def _with_parameters(text: str, fields: tuple[Declared, ...]) -> str:
    """A docstring with its section of parameters, before the first other one."""
    lines = ["Parameters", "----------"]
    for one in fields:
        default = "" if one.default is inspect.Parameter.empty else f", default {one.default!r}"
        lines += [f"{one.name} : {type_text(one.type)}{default}", f"    {help_text(one)}"]
    section = "\n".join(lines)
    first = re.search(r"^\w[\w ]*\n-{3,}$", text, flags=re.MULTILINE)
    if first is None:
        return f"{text}\n\n{section}\n"
    return f"{text[: first.start()]}{section}\n\n{text[first.start() :]}"


def help_text(one: Declared) -> str:
    """What is said of a field in Python."""
    more = one.kind.more if isinstance(one.kind, Option) else ""
    return f"{one.kind.help} {more}".strip()


def type_text(hint: Any) -> str:
    """A type as it is read: ``str or None``, ``sequence of int``."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("None" if part is type(None) else type_text(part) for part in parts)
    if origin is not None and origin is not tuple and parts:
        return f"{origin.__name__.lower()} of {', '.join(type_text(part) for part in parts)}"
    if origin is tuple:
        return f"({', '.join(type_text(part) for part in parts)})"
    return str(getattr(hint, "__name__", hint))
