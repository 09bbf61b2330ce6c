"""The contract that every method keeps, as a function that authors of methods run too."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from simstudy.analysis.slopes import MEANING
from simstudy.data.layout import ClusterLayout
from simstudy.errors import EstimatorError
from simstudy.estimation.fit_measures import STORED
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status
from simstudy.methods import ask, registry
from simstudy.methods.protocol import Estimator, PreparedEstimator
from simstudy.methods.verify import COLUMNS
from simstudy.methods.wall import MethodError, TimeUp, fit_walled, fitter, walled
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import SAMPLE, DataKind, data_kind
from simstudy.population.population import Population
from simstudy.population.streams import FitStreams
from simstudy.runner.limit import deadline

MODELS = {
    "contextual": """
        level: within
          y ~ bw*x
        level: between
          y ~ bb*x
        contextual := bb - bw
        """,
    "mediation-1-1-1": """
        level: within
          m ~ aw*x
          y ~ bw*m + cw*x
        level: between
          m ~ ab*x
          y ~ bb*m + cb*x
        ind_w := aw*bw
        ind_b := ab*bb
        """,
    "mediation-2-1-1": """
        level: within
          y ~ bw*m
        level: between
          m ~ a*x
          y ~ bb*m + c*x
        ind := a*bb
        """,
    "mediation-1-1-2": """
        level: within
          m ~ aw*x
        level: between
          m ~ ab*x
          z ~ bb*m + cb*x
        ind := ab*bb
        """,
    "equal slopes": """
        level: within
          y ~ b*x
        level: between
          y ~ b*x + 0.2*w
        """,
    "random slope": """
        level: within
          y ~ rv("s")*x
        level: between
          y + s ~ w
        """,
    "random slope, latent means": """
        level: within
          y ~ rv("s")*x
        level: between
          y ~ bb*x
          s ~ bw*1
          y ~~ s
        contextual := bb - bw
        """,
    "factors": """
        level: within
          f =~ y1 + y2 + y3
          f ~ bw*x
        level: between
          f =~ y1 + y2 + y3
          f ~ bb*x
        """,
}
"""Models the contract is checked on; a method may decline any of them with a reason."""

LAYOUTS = {
    "balanced": ClusterLayout.of([6] * 40),
    "unbalanced": ClusterLayout.of([3, 4, 5, 6, 7, 8, 9, 10] * 5),
}
_REPLICATES = 7
_SEED = 20090306


def check_estimator(
    estimator: str | type[Any] | Estimator, *, seconds: float | None = 60.0, **options: Any
) -> list[str]:
    """Check that a method keeps the contract; returns what was checked.

    The method declares itself; declines with a reason or fits, in time; returns arrays of the documented types and
    shapes, NaN where it failed or does not speak; leaves its input and global random numbers alone; gives the same
    bits for any batch and any repetition, also where it draws from its streams; and survives data that cannot be
    fitted.

    Parameters
    ----------
    estimator : str, class or instance
        Name in the registry, ``package.module:Attr``, a class, or a method ready made.
    seconds : float, optional
        Most that the fit of a small data set may take; None: any time.
    **options
        Options for a name or class.

    Raises
    ------
    AssertionError
        Naming the rule broken, the model and the layout.

    Examples
    --------
    >>> checked = check_estimator("msem", se=["expected", "robust"])
    >>> any("contextual" in line for line in checked)
    True
    """
    method = _instance(estimator, options)
    _check_declaration(method)
    checked = [f"{method.name}: declares itself"]
    fitted = 0
    for model_name, text in MODELS.items():
        model = TwoLevelModel.from_syntax(text)
        for layout_name, layout in LAYOUTS.items():
            where = f"{method.name}, {model_name}, {layout_name}"
            chosen = ask.for_model(method, model)
            if isinstance(chosen, ask.Stopped):
                raise AssertionError(f"{where}: {chosen.text}\n{chosen.trace}")
            reason = _kept(f"{where}: supports()", ask.supports, chosen, model, layout)
            _check_slopes(chosen, model, where)
            assert reason != ask.NO_REASON, f"{where}: supports() gives an empty reason"
            if reason is not None:
                checked.append(f"{where}: declined ({reason})")
                continue
            _check_words(chosen, model, layout, where)
            _Contract(chosen, model, layout, where, seconds).check()
            fitted += 1
            checked.append(f"{where}: fitted")
    assert fitted, f"{method.name}: declined every model of the contract"
    return checked


def _instance(estimator: str | type[Any] | Estimator, options: dict[str, Any]) -> Estimator:
    if isinstance(estimator, str):
        return registry.create(estimator, options)
    if isinstance(estimator, type):
        registry.check_class(estimator, estimator.__qualname__)
        return cast(Estimator, _kept(estimator.__qualname__, lambda: estimator(**options)))
    registry.check_class(type(estimator), type(estimator).__qualname__)
    assert not options, "options go with a name or a class, not with a method ready made"
    return estimator


def _check_declaration(method: Estimator) -> None:
    try:
        registry.check_declared(method)
    except EstimatorError as error:
        raise AssertionError(str(error)) from None
    complete = _kept("the declaration", isinstance, method, Estimator)
    assert complete, f"{method.name} lacks parts of the Estimator protocol"
    for part in ("name", "title", "reference", "can", "cannot"):
        assert getattr(method, part).strip(), f"{method.name}: '{part}' is empty"
    assert dataclasses.is_dataclass(method), f"{method.name}: a method is a frozen dataclass"
    names = [diagnostic.name for diagnostic in method.diagnostics]
    assert len({*names}) == len(names), f"{method.name}: 'diagnostics' names one twice"
    for name in names:
        assert name.isidentifier(), f"{method.name}: a diagnostic is named {name!r}; allowed: letters, digits and '_'"
        assert name not in COLUMNS, f"{method.name}: no diagnostic may be named '{name}'"
    _kept(f"{method.name}, whose options must be hashable: hash()", hash, method)


def _check_slopes(method: Estimator, model: TwoLevelModel, where: str) -> None:
    """What the method says of slopes, which is asked before it is known whether it can be used."""
    meanings, notes = ask.slope_meanings(method, model)
    assert not notes, f"{where}: {notes[0]}"
    for name, meaning in meanings.items():
        allowed = ", ".join(MEANING)
        assert meaning in ("", *MEANING), f"{where}: slope_meaning() of {name} is {meaning!r}; allowed: {allowed}"


def _check_words(method: Estimator, model: TwoLevelModel, layout: ClusterLayout, where: str) -> None:
    """What the method says beside its numbers: of the types promised, and without an error."""
    population = _population(model, layout)
    sample = ask.draw(SAMPLE, population, _SEED, range(1))
    notes = (
        *ask.caveats(method, model),
        *ask.failure_notes(method, model, sample),
        *ask.likelihood_of(method, model)[1],
    )
    for note in notes:
        assert ask.NO_WORDS not in note, f"{where}: {note}"
    for number in _kept(f"{where}: exact_numbers()", ask.exact_numbers, method, model, population, 0.95):
        assert number.parameter in model.reported, f"{where}: exact_numbers() names '{number.parameter}'"
        kinds = ("", *method.se_kinds)
        assert number.se_kind in kinds, f"{where}: exact_numbers() names the SE kind '{number.se_kind}'"


def _kept(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call code of a method; that it stops with an error is a breach of the contract."""
    try:
        return walled(function, *arguments)
    except MethodError as error:
        raise AssertionError(f"{what} stopped with an error: {error.text}\n{error.trace}") from None


@dataclass(frozen=True)
class _Contract:
    """The contract of a method for one model and layout."""

    method: Estimator
    model: TwoLevelModel
    layout: ClusterLayout
    where: str
    seconds: float | None

    def check(self) -> None:
        """Check everything."""
        population = _population(self.model, self.layout)
        kind = data_kind(self.method.needs)
        data = _kept(f"{self.where}: data", ask.draw, kind, population, _SEED, range(_REPLICATES))
        sample = ask.draw(SAMPLE, population, _SEED, range(1))
        _kept(f"{self.where}: data", ask.of_sample, kind, sample)
        streams = FitStreams.of(_SEED, self.method.name, population.key, range(_REPLICATES))
        arrays = list(kind.arrays(data))
        before, state = [array.copy() for array in arrays], _global_random()
        prepared = self._prepared()
        result = self._fit(prepared, data, streams, self.where)
        for array, old in zip(arrays, before, strict=True):
            same = np.array_equal(array, old, equal_nan=old.dtype.kind in "fc")
            assert same, f"{self.where}: fit() changed its input"
        assert _global_random() == state, (
            f"{self.where}: fit() uses global random numbers; draw from streams, and say needs_random = True"
        )
        assert result.converged.any(), f"{self.where}: no fit converged on well-behaved data"
        with_defined(result, self.model.estimands)
        again = self._fit(self._prepared(), data, streams, self.where)
        _same(result, again, self.where, "a second fit gives other bits")
        self._check_batches(prepared, data, streams, result)
        self._check_bad_data(prepared, data, streams)

    def _prepared(self) -> PreparedEstimator:
        prepared = _kept(f"{self.where}: prepare()", ask.prepare, self.method, self.model, self.layout)
        return cast(PreparedEstimator, prepared)

    def _fit(self, prepared: PreparedEstimator, data: Any, streams: FitStreams, where: str) -> FitResult:
        n, fit = len(streams), fitter(self.method, prepared)
        try:
            with deadline(None if self.seconds is None else n * self.seconds, (self.method.name, 0, n)):
                result, wrong = fit_walled(self.method, self.model, fit, data, streams)
        except MethodError as error:
            raise AssertionError(f"{where}: fit() stopped with an error: {error.text}\n{error.trace}") from None
        except TimeUp:
            raise AssertionError(f"{where}: fit() takes more than {self.seconds:g} s a data set") from None
        assert not wrong, f"{where}: {next(iter(wrong.values()))}"
        self._check_result(result, where)
        return result

    def _check_result(self, result: FitResult, where: str) -> None:
        """What is not wrong for a study, but for a method that keeps its promises."""
        bad, silent = ~result.converged, np.asarray(np.isnan(result.estimate).all(axis=0))
        assert np.isnan(result.estimate[bad]).all(), f"{where}: a failed fit must report NaN, not numbers"
        for kind, se in result.se.items():
            assert np.isnan(se[:, silent]).all(), f"{where}: an SE '{kind}' without an estimate"
            assert np.isnan(se[bad]).all(), f"{where}: a failed fit must report NaN, not an SE '{kind}'"
        q = len(silent)
        for kind, limits in result.intervals.items():
            for limit in limits:
                assert np.isnan(limit[:, :q][:, silent]).all(), f"{where}: limits '{kind}' without an estimate"
                assert np.isnan(limit[bad]).all(), f"{where}: a failed fit must report NaN, not limits '{kind}'"
        known = {*STORED, *(diagnostic.name for diagnostic in self.method.diagnostics)}
        unknown = [name for name in result.measures if name not in known]
        assert not unknown, f"{where}: the measure '{unknown[:1]}' is not among its diagnostics"

    def _check_batches(self, prepared: PreparedEstimator, data: Any, streams: FitStreams, whole: FitResult) -> None:
        """Same bits one by one, and in uneven batches."""
        for parts in ([[i] for i in range(_REPLICATES)], [[0, 1], [2, 3, 4, 5, 6]]):
            for part in parts:
                index = np.array(part, dtype=np.int64)
                chosen = _kept(f"{self.where}: select() of the data", data.select, index)
                found = self._fit(prepared, chosen, streams.select(index), self.where)
                _same(whole.select(index), found, self.where, "results depend on the batch")

    def _check_bad_data(self, prepared: PreparedEstimator, data: Any, streams: FitStreams) -> None:
        """Data that cannot be fitted give a status, and leave their neighbours alone."""
        first, both = np.array([0], dtype=np.int64), np.array([1, 0], dtype=np.int64)
        good = self._fit(prepared, data.select(first), streams.select(first), self.where)
        for what, value in (("missing values", np.nan), ("all values zero", 0.0), ("infinite values", np.inf)):
            where = f"{self.where}, {what}"
            spoiled = _kept(where, _spoil, data_kind(self.method.needs), data.select(both), value)
            result = self._fit(prepared, spoiled, streams.select(both), where)
            assert result.status[0] != int(Status.OK), f"{where}: the data set was reported as converged"
            _same(result.select(np.array([1])), good, where, "the data set changed its neighbour")


def _global_random() -> tuple[str, str]:
    """State of the global random numbers of numpy and of Python."""
    return repr(np.random.get_state(legacy=False)), repr(random.getstate())  # noqa: NPY002


def _spoil(kind: DataKind, data: Any, value: float) -> Any:
    """A copy with ``value`` in all numbers of the first replicate."""
    changed = copy.deepcopy(data)
    mine = [a for a in kind.arrays(changed) if a.dtype.kind == "f" and a.shape[:1] == (data.n_replicates,)]
    if not mine:
        raise MethodError(f"data kind '{kind.name}': none of its arrays of numbers has the replicates in front")
    for array in mine:
        array.setflags(write=True)
        array[0] = value
    return changed


def _same(a: FitResult, b: FitResult, where: str, what: str) -> None:
    """Whether two results have the same bits."""
    names = ((a.se, b.se), (a.intervals, b.intervals), (a.measures, b.measures))
    for have, found in ([sorted(part) for part in pair] for pair in names):
        assert have == found, f"{where}: {what} (names {', '.join(have)} and {', '.join(found)})"
    pairs = [(name, getattr(a, name), getattr(b, name)) for name in ("estimate", "status", "admissible", "n_iter")]
    pairs += [("loglik", a.loglik, b.loglik)]
    pairs += [(f"covariance '{kind}'", cov, b.covariance[kind]) for kind, cov in a.covariance.items()]
    pairs += [(f"se '{kind}'", se, b.se[kind]) for kind, se in a.se.items()]
    pairs += [
        (f"{side} limits '{kind}'", a.intervals[kind][k], b.intervals[kind][k])
        for kind in a.intervals
        for k, side in enumerate(("lower", "upper"))
    ]
    pairs += [(f"measure '{name}'", values, b.measures[name]) for name, values in a.measures.items()]
    for name, left, right in pairs:
        equal = np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
        assert equal, f"{where}: {what} ({name})"


def _population(model: TwoLevelModel, layout: ClusterLayout) -> Population:
    """Slopes .3, loadings .8, variances .8 within and .4 between (of random slopes: .15), no residual covariances."""
    values, slopes = np.zeros(len(model.names)), {slope.name for slope in model.slopes}
    for row in model.table.rows:
        if row.free >= 0 and row.op in ("~", "=~"):
            values[row.free] = 0.3 if row.op == "~" else 0.8
        elif row.free >= 0 and row.op == "~~" and row.lhs == row.rhs:
            values[row.free] = 0.8 if row.level == "within" else 0.15 if row.lhs in slopes else 0.4
    return Population(model, tuple(values.tolist()), layout, f"contract {layout.sizes}")
