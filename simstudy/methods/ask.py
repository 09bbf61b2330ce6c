"""Every question to a method and to a kind of data, asked behind the wall; answers are looked at before use.

Layers to the right of `methods` ask here and never a method itself. What a failure means depends on the question:

- `for_model` gives a stand-in that fails at the next question, so that a study goes on around the method;
- `supports`, `prepare`, `exact_numbers`, `draw` and `of_sample` raise a `MethodError`, which callers make a status;
- words for the user (`caveats`, `failure_notes`, `slope_meanings`, `likelihood_of`) are replaced by a note that there
  are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.exact_laws import ExactNumber
from simstudy.methods.fixed_slopes import WithFixedSlopes
from simstudy.methods.likelihood_of import KINDS, UNSAID, LikelihoodOf
from simstudy.methods.protocol import Estimator, PreparedEstimator, PreparedSlopes
from simstudy.methods.registry import check_class, check_declared
from simstudy.methods.substitute import Substitute
from simstudy.methods.verify import what_is
from simstudy.methods.wall import MethodError, lock, walled
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import BUILT_IN, DataKind, arrays_of
from simstudy.population.population import Population

STOPPED = "it stopped with an error: "
"""What is said in front of an error of a method that was asked whether it can be used."""


NO_REASON = "it gives no reason"
NO_WORDS = "there are no words"
"""How a note begins that stands for what a method could not say."""


@dataclass(frozen=True)
class Stopped(Substitute):
    """What stands in for a method that stopped when it was asked what it is for a model: it stops again.

    Attributes
    ----------
    text, trace : str
        The error, see `MethodError`.
    """

    text: str
    trace: str

    def supports(self, model: TwoLevelModel, layout: ClusterLayout) -> NoReturn:
        """Raise the error."""
        raise MethodError(self.text, self.trace)

    def prepare(self, model: TwoLevelModel, layout: ClusterLayout) -> NoReturn:
        """Raise the error."""
        raise MethodError(self.text, self.trace)


def for_model(method: Estimator, model: TwoLevelModel) -> Estimator:
    """The method as it is used for a model.

    One that knows no random slopes is given the fixed-slope model of a model that has them. In place of one that stops
    with an error, or gives no method, there is a `Stopped`.
    """

    def chosen() -> Estimator:
        found = method.for_model(model)
        if found is not method:
            check_class(type(found), "what for_model() returned")
            check_declared(found)
        return WithFixedSlopes(found) if model.slopes and not found.random_slopes else found

    try:
        return walled(chosen)
    except MethodError as error:
        return Stopped(method, f"for_model() stopped: {error.text}", error.trace)


def supports(method: Estimator, model: TwoLevelModel, layout: ClusterLayout) -> str | None:
    """None, or the reason why a method cannot be used.

    Raises
    ------
    MethodError
        It stopped, or its answer is neither.
    """

    def reason() -> str | None:
        found: object = method.supports(model, layout)
        if found is not None and not isinstance(found, str):
            raise MethodError(f"supports() returned {what_is(found)}, not None or a reason")
        return found if found is None or found.strip() else NO_REASON

    return walled(reason)


def why_not(method: Estimator, model: TwoLevelModel, layout: ClusterLayout) -> tuple[str, bool]:
    """Why a method cannot be used, or empty; and whether that is an error of its own."""
    try:
        return supports(method, model, layout) or "", False
    except MethodError as error:
        return f"{STOPPED}{error.text}", True


def prepare(method: Estimator, model: TwoLevelModel, layout: ClusterLayout) -> PreparedEstimator:
    """Make a method ready.

    Raises
    ------
    MethodError
        It stopped, or what it returned has no ``fit``.
    """

    def ready() -> PreparedEstimator:
        found: object = method.prepare(model, layout)
        if not isinstance(found, PreparedEstimator) or not callable(found.fit):
            raise MethodError(f"prepare() returned {what_is(found)}, not something with fit()")
        return found

    return walled(ready)


def prepare_slopes(method: Estimator, model: TwoLevelModel, layout: ClusterLayout) -> PreparedSlopes | None:
    """`prepare`, where slopes vary by full-information maximum likelihood; None where they do not."""

    def ready() -> PreparedSlopes | None:
        found: object = method.prepare_slopes(model, layout)
        if found is not None and not isinstance(found, PreparedSlopes):
            raise MethodError(f"prepare_slopes() returned {what_is(found)}, not PreparedSlopes or None")
        return found

    return walled(ready)


def on_sums(method: Estimator) -> Estimator | None:
    """A method as it is used where only sums are at hand, or None; a `MethodError` for anything else."""

    def variant() -> Estimator | None:
        found: Estimator | None = method.on_sums()
        if found is not None:
            check_class(type(found), "what on_sums() returned")
            check_declared(found)
        return found

    return walled(variant)


def on_rows_left(method: Estimator, model: TwoLevelModel) -> Estimator | None:
    """A method as it fits what listwise deletion leaves of many data sets, or None; a `MethodError` else."""

    def variant() -> Estimator | None:
        found: Estimator | None = method.on_rows_left(model)
        if found is not None:
            check_class(type(found), "what on_rows_left() returned")
            check_declared(found)
        return found

    return walled(variant)


def exact_numbers(
    method: Estimator, model: TwoLevelModel, population: Population, level: float
) -> tuple[ExactNumber, ...]:
    """Exact finite-sample numbers of a method.

    Raises
    ------
    MethodError
        It stopped, or returned something else.
    """

    def numbers() -> tuple[ExactNumber, ...]:
        found: object = method.exact_numbers(model, population, level)
        if not isinstance(found, tuple) or not all(isinstance(one, ExactNumber) for one in found):
            raise MethodError(f"exact_numbers() returned {what_is(found)}, not a tuple of ExactNumber")
        for one in found:
            words = isinstance(one.parameter, str) and isinstance(one.se_kind, str) and isinstance(one.measure, str)
            if not words or not isinstance(one.value, float):
                raise MethodError(f"exact_numbers() returned {one!r}; names are text and the value is a number")
        return found

    return walled(numbers)


# ---------------------------------------------------------------------- words for the user


def caveats(method: Estimator, model: TwoLevelModel) -> tuple[str, ...]:
    """What a user must know about a method's numbers for a model, or a note that the method could not say it."""
    return _texts(method, "caveats", lambda: method.caveats(model))


def failure_notes(method: Estimator, model: TwoLevelModel, sample: Sample) -> tuple[str, ...]:
    """Why a fit has no maximum, or a note that the method could not say it."""
    return _texts(method, "failure_notes", lambda: method.failure_notes(model, sample))


def _texts(method: Estimator, hook: str, ask: Callable[[], object]) -> tuple[str, ...]:
    def texts() -> tuple[str, ...]:
        found = ask()
        if not isinstance(found, tuple) or not all(isinstance(text, str) for text in found):
            raise MethodError(f"it returned {what_is(found)}, not a tuple of texts")
        return found

    try:
        return walled(texts)
    except MethodError as error:
        return (_no_words(method, hook, error),)


def slope_meanings(method: Estimator, model: TwoLevelModel) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a method takes each random slope to multiply, by name of the slope, and notes where it could not say it."""
    meanings, notes = {}, []
    for slope in model.slopes:

        def meaning() -> str:
            found: object = method.slope_meaning(model, slope)  # noqa: B023  (called in this pass)
            if not isinstance(found, str):
                raise MethodError(f"it returned {what_is(found)}, not a text")
            return found

        try:
            meanings[slope.name] = walled(meaning)
        except MethodError as error:
            meanings[slope.name] = ""
            notes.append(_no_words(method, "slope_meaning", error))
    return meanings, tuple(dict.fromkeys(notes))


def likelihood_of(method: Estimator, model: TwoLevelModel) -> tuple[LikelihoodOf, tuple[str, ...]]:
    """What a method's log-likelihood of a model is of, and notes where it could not say it."""

    def answer() -> LikelihoodOf:
        found: object = method.likelihood_of(model)
        if not isinstance(found, LikelihoodOf):
            raise MethodError(f"it returned {what_is(found)}, not a LikelihoodOf")
        if found.kind not in KINDS:
            raise MethodError(f"it returned the kind {found.kind!r}; allowed: {', '.join(KINDS)}")
        return found

    try:
        return walled(answer), ()
    except MethodError as error:
        return UNSAID, (_no_words(method, "likelihood_of", error),)


def _no_words(method: Estimator, hook: str, error: MethodError) -> str:
    return f"{NO_WORDS} of {method.name} itself: {hook}() stopped with an error: {error.text}"


# ---------------------------------------------------------------------- data


def draw(kind: DataKind, population: Population, seed: int, replicates: Sequence[int]) -> Any:
    """Data of some replicates, read-only.

    Raises
    ------
    MethodError
        A kind that is not the program's own stopped, or returned no such data.
    """
    return _data(kind, len(replicates), lambda: kind.draw(population, seed, replicates))


def of_sample(kind: DataKind, sample: Sample) -> Any:
    """Data made of rows, read-only; errors are those of `draw`."""
    return _data(kind, sample.n_replicates, lambda: kind.of_sample(sample))


def _data(kind: DataKind, n: int, make: Callable[[], Any]) -> Any:
    if kind.name in BUILT_IN:  # what goes wrong here is no method's
        return lock(make(), arrays_of)

    def checked() -> Any:
        data = make()
        if not hasattr(data, "n_replicates") or not callable(getattr(data, "select", None)):
            raise MethodError(f"data kind '{kind.name}' gave {what_is(data)}, which lacks n_replicates or select()")
        if data.n_replicates != n:
            raise MethodError(f"data kind '{kind.name}' gave {data.n_replicates!r} data sets, not {n}")
        if not kind.arrays(data):
            raise MethodError(
                f"data kind '{kind.name}': no arrays are found in its data, which must be read-only; give "
                "DataKind(arrays=...)"
            )
        return lock(data, kind.arrays)

    return walled(checked)
