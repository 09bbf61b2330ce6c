"""The registry of methods: built-in ones, ``package.module:Attr``, and entry points (``simstudy.estimators``)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from simstudy.errors import EstimatorError, did_you_mean
from simstudy.methods.look import Look
from simstudy.methods.protocol import REQUIRED, Diagnostic, Estimator, complete
from simstudy.methods.substitute import Substitute
from simstudy.methods.verify import PROGRAM
from simstudy.methods.wall import MethodError, describe, walled
from simstudy.population.data_kinds import data_kind

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_REGISTRY: dict[str, type[Any]] = {}
T = TypeVar("T", bound=type[Any])

ENTRY_POINTS = "simstudy.estimators"


def register(cls: T) -> T:
    """Class decorator: add a method to the registry under its ``name``.

    Raises
    ------
    EstimatorError
        If parts of the `Estimator` protocol are missing, or another method has the name.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> import simstudy
    >>> from simstudy.methods.one_level.disaggregated import Disaggregated
    >>> @simstudy.register
    ... @dataclass(frozen=True)
    ... class Own(Disaggregated):
    ...     name: ClassVar[str] = "own"
    >>> "own" in simstudy.estimators()["estimator"].tolist()
    True
    """
    check_class(cls, getattr(cls, "__qualname__", str(cls)))
    other = _REGISTRY.get(cls.name)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise EstimatorError(f"method '{cls.name}' is registered twice, by {other.__module__} and {cls.__module__}")
    _REGISTRY[cls.name] = cls
    return cls


def check_class(cls: Any, where: str) -> None:
    """Raise an `EstimatorError` unless a class says what `Estimator` requires; give it the defaults of the rest."""
    missing = [part for part in REQUIRED if not hasattr(cls, part)]
    if missing:
        raise EstimatorError(f"{where} is not a method: it lacks {', '.join(missing)}")
    if not dataclasses.is_dataclass(cls):
        raise EstimatorError(f"{where} is not a dataclass; options of a method are the fields of a frozen dataclass")
    complete(cast(type[Any], cls))


def names() -> tuple[str, ...]:
    """Names of all methods known: built-in ones in teaching order, then entry points."""
    _load_entry_points()
    return tuple(_REGISTRY)


def find(name: str) -> type[Estimator]:
    """Class of a method by name or ``package.module:Attr``.

    Raises
    ------
    EstimatorError
        Unknown name (with the closest known one), or what is found there is not a method.
    """
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        try:
            found = getattr(walled(importlib.import_module, module_name), attribute)
        except (MethodError, AttributeError) as error:  # whatever a user's module does on import
            raise EstimatorError(f"method '{name}' cannot be imported: {describe(error)}") from None
        check_class(found, f"'{name}'")
        return found  # type: ignore[no-any-return]
    if name not in _REGISTRY:
        _load_entry_points()
    if name not in _REGISTRY:
        raise EstimatorError(f"unknown method '{name}'{did_you_mean(name, _REGISTRY)}; known: {', '.join(_REGISTRY)}")
    return _REGISTRY[name]


def options(name: str) -> tuple[str, ...]:
    """Names of a method's options: its fields, but those that an alias holds fixed."""
    return tuple(f.name for f in dataclasses.fields(find(name)) if f.init)  # type: ignore[arg-type]


def create(name: str, values: Mapping[str, Any] | None = None) -> Estimator:
    """A method with options.

    Raises
    ------
    EstimatorError
        Unknown method or option, or a value that an option does not take.
    """
    from pydantic import ValidationError  # slow to import

    cls, given, allowed = find(name), dict(values or {}), options(name)
    problems = [
        f"method '{name}': unknown option '{key}'{did_you_mean(key, allowed)}; allowed: {', '.join(allowed) or 'none'}"
        for key in given
        if key not in allowed
    ]
    if problems:
        raise EstimatorError(problems)

    def made() -> tuple[Estimator | None, ValidationError | None]:
        try:
            return _reader(cls).validate_python(given), None
        except ValidationError as error:
            return None, error

    try:
        result, wrong = walled(made)
    except MethodError as error:
        raise error.own or EstimatorError(f"method '{name}' cannot be made: {error.text}") from None
    if wrong is not None:
        raise EstimatorError(
            [
                f"method '{name}': option '{'.'.join(map(str, e['loc']))}': {e['msg']} (found {e['input']!r})"
                for e in wrong.errors()
            ]
        ) from wrong
    assert result is not None
    check_declared(result)
    return result


@functools.cache
def _reader(cls: type[Any]) -> TypeAdapter[Any]:
    """What makes a method of options; making it takes as long as a fit."""
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(cls))


def check_declared(method: Estimator) -> None:
    """Raise an `EstimatorError` where what a method says of itself is not what it must be."""
    try:
        walled(_check_declared, method)
    except MethodError as error:
        name = vars(type(method)).get("name", type(method).__qualname__)
        raise error.own or EstimatorError(f"method '{name}' cannot say what it is: {error.text}") from None


def _check_declared(method: Estimator) -> None:
    for part, (allowed, good) in DECLARED.items():
        found = getattr(method, part)
        if not good(found):
            raise EstimatorError(f"method '{method.name}': '{part}' is {found!r}; it must be {allowed}")
    data_kind(method.needs)
    taken = sorted({*method.interval_kinds} & {*method.se_kinds, *PROGRAM})
    if taken:
        raise EstimatorError(
            f"method '{method.name}': interval_kinds names '{taken[0]}', which is a kind of SE or of the program's own "
            "intervals; give it another name"
        )


def _tuple_of(good: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, tuple) and len(found) >= least and all(good(one) for one in found)


def _is_text(found: Any) -> bool:
    return isinstance(found, str)


def _is_name(found: Any) -> bool:
    return isinstance(found, str) and bool(found)


_TEXT = ("a text", _is_text)
_CHOICE = ("True or False", lambda found: isinstance(found, bool))
_NAMES = "a tuple of names"
DECLARED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("name", "title", "reference", "can", "cannot", "idea", "same_as", "needs"), _TEXT),
    "levels": ("a tuple of 'within' and 'between'", _tuple_of(lambda one: one in ("within", "between"), least=1)),
    "se_kinds": (f"{_NAMES}, one at least", _tuple_of(_is_name, least=1)),
    "interval_kinds": (_NAMES, _tuple_of(_is_name)),
    "theory": ("a tuple of texts", _tuple_of(_is_text)),
    "diagnostics": ("a tuple of Diagnostic", _tuple_of(lambda one: isinstance(one, Diagnostic))),
    "year": ("a year or None", lambda found: found is None or isinstance(found, int)),
    "look": ("a Look or None", lambda found: found is None or isinstance(found, Look)),
    **dict.fromkeys(
        ("imposes_constraints", "imposes_bounds", "random_slopes", "averages_items", "needs_random", "takes_missing"),
        _CHOICE,
    ),
    "interval_level": ("between 0 and 1", lambda found: isinstance(found, float) and 0.0 < found < 1.0),
    "asked_for": ("a method", lambda found: dataclasses.is_dataclass(found) and isinstance(found, Estimator)),
}
"""What a method says of itself: what it must be, and whether it is."""


def values_of(method: Estimator) -> dict[str, Any]:
    """Values of a method's fields."""
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}  # type: ignore[arg-type]


def complete_again(estimator: Estimator) -> None:
    """Give the class of a method its defaults where it was imported by unpickling, as in a worker process."""
    complete(type(innermost(estimator)))


def innermost(estimator: Estimator) -> Estimator:
    """The method that does the work, without what stands in for it."""
    while isinstance(estimator, Substitute):
        estimator = estimator.method
    return estimator


def with_option(estimator: Estimator, option: str, value: Any) -> Estimator:
    """The method with an option set, where it has that option."""
    if option not in {f.name for f in dataclasses.fields(estimator) if f.init}:  # type: ignore[arg-type]
        return estimator
    return dataclasses.replace(estimator, **{option: value})  # type: ignore[type-var]


def look_of(name: str) -> Look | None:
    """Look that a registered method brings along; None for other names."""
    found = _REGISTRY.get(name)
    return None if found is None else found.look


@functools.cache
def entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """Methods of installed packages; what is installed is read once, which takes as long as a fit."""
    return tuple(importlib.metadata.entry_points(group=ENTRY_POINTS))


def _load_entry_points() -> None:
    for point in entry_points():
        if point.name not in _REGISTRY:
            try:
                cls = walled(point.load)
                check_class(cls, f"entry point '{point.name}'")
            except EstimatorError as error:  # somebody else's package must not break the methods that work
                warnings.warn(f"method '{point.name}' cannot be loaded: {describe(error)}", stacklevel=2)
                continue
            _REGISTRY.setdefault(point.name, cls)
