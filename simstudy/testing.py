"""The contract that every method keeps, as a function that authors of methods run too."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status
from simstudy.methods import registry
from simstudy.methods.protocol import Estimator, PreparedEstimator
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.population import Population

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


def check_estimator(estimator: str | type[Any] | Estimator, **options: Any) -> list[str]:
    """Check that a method keeps the contract; returns what was checked.

    The method declares itself; declines with a reason or fits; returns arrays of the documented shapes, NaN where it
    failed or does not speak; leaves its input alone; gives the same bits for any batch and any repetition; and survives
    data that cannot be fitted.

    Parameters
    ----------
    estimator : str, class or instance
        Name in the registry, ``package.module:Attr``, a class, or a method ready made.
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
            chosen = registry.for_model(method, model)
            reason = chosen.supports(model, layout)
            if reason is not None:
                assert isinstance(reason, str), f"{where}: supports() must return None or a reason"
                assert reason.strip(), f"{where}: supports() gives an empty reason"
                checked.append(f"{where}: declined ({reason})")
                continue
            _check_fits(chosen, model, layout, where)
            fitted += 1
            checked.append(f"{where}: fitted")
    assert fitted, f"{method.name}: declined every model of the contract"
    return checked


def _instance(estimator: str | type[Any] | Estimator, options: dict[str, Any]) -> Estimator:
    if isinstance(estimator, str):
        return registry.create(estimator, options)
    if isinstance(estimator, type):
        registry.check_class(estimator, estimator.__qualname__)
        return estimator(**options)  # type: ignore[no-any-return]
    registry.check_class(type(estimator), type(estimator).__qualname__)
    assert not options, "options go with a name or a class, not with a method ready made"
    return estimator


def _check_declaration(method: Estimator) -> None:
    assert isinstance(method, Estimator), f"{method!r} lacks parts of the Estimator protocol"
    for part in ("name", "title", "reference", "can", "cannot"):
        text = getattr(method, part)
        assert isinstance(text, str), f"{method.name}: '{part}' must be text"
        assert text.strip(), f"{method.name}: '{part}' is empty"
    data_kind(method.needs)
    assert set(method.levels) <= {"within", "between"}, f"{method.name}: 'levels' names unknown levels"
    assert method.levels, f"{method.name}: 'levels' is empty"
    assert method.se_kinds, f"{method.name}: 'se_kinds' is empty"
    assert dataclasses.is_dataclass(method), f"{method.name}: a method is a frozen dataclass"
    assert hash(method) is not None, f"{method.name}: a method is a frozen dataclass with hashable options"


def _check_fits(method: Estimator, model: TwoLevelModel, layout: ClusterLayout, where: str) -> None:
    prepared = method.prepare(model, layout)
    assert isinstance(prepared, PreparedEstimator), f"{where}: prepare() must return something with fit()"
    data = _data(method, _population(model, layout), range(_REPLICATES))
    before = _arrays(data)
    result = prepared.fit(data)
    for name, array in _arrays(data).items():
        assert np.array_equal(array, before[name], equal_nan=True), f"{where}: fit() changed its input '{name}'"
    _check_shapes(method, model, result, _REPLICATES, where)
    assert result.converged.any(), f"{where}: no fit converged on well-behaved data"
    with_defined(result, model.estimands)
    again = method.prepare(model, layout).fit(data)
    _same(result, again, where, "a second fit gives other bits")
    _check_batches(prepared, data, result, where)
    _check_bad_data(method, model, prepared, data, where)


def _check_shapes(method: Estimator, model: TwoLevelModel, result: FitResult, n: int, where: str) -> None:
    q = len(model.names)
    assert tuple(result.labels) == model.names, f"{where}: labels must be model.names; found {result.labels}"
    assert result.estimate.shape == (n, q), f"{where}: estimate has shape {result.estimate.shape}, not {(n, q)}"
    kinds = tuple(result.covariance)
    assert kinds == tuple(method.se_kinds), f"{where}: SE kinds {kinds} are not those declared, {method.se_kinds}"
    for kind, cov in result.covariance.items():
        assert cov.shape == (n, q, q), f"{where}: covariance '{kind}' has shape {cov.shape}, not {(n, q, q)}"
        se = result.se[kind]
        assert not (se < 0).any(), f"{where}: negative SE"
        silent = np.isnan(result.estimate).all(axis=0)
        assert np.isnan(se[:, silent]).all(), f"{where}: an SE without an estimate"
    for name in ("status", "admissible", "n_iter", "loglik"):
        shape = getattr(result, name).shape
        assert shape == (n,), f"{where}: {name} has shape {shape}, not {(n,)}"
    known = {int(s) for s in Status}
    assert set(np.unique(result.status).tolist()) <= known, f"{where}: unknown status"
    bad = ~result.converged
    assert np.isnan(result.estimate[bad]).all(), f"{where}: a failed fit must report NaN, not numbers"


def _check_batches(
    prepared: PreparedEstimator, data: TwoLevelStatistics | Sample, whole: FitResult, where: str
) -> None:
    """Same bits one by one, and in uneven batches."""
    for parts in ([[i] for i in range(_REPLICATES)], [[0, 1], [2, 3, 4, 5, 6]]):
        for part in parts:
            index = np.array(part, dtype=np.int64)
            found = prepared.fit(data.select(index))
            _same(whole.select(index), found, where, "results depend on the batch")


def _check_bad_data(
    method: Estimator,
    model: TwoLevelModel,
    prepared: PreparedEstimator,
    data: TwoLevelStatistics | Sample,
    where: str,
) -> None:
    """Data that cannot be fitted give a status, and leave their neighbours alone."""
    good = prepared.fit(data.select(np.array([0], dtype=np.int64)))
    for what, value in (("missing values", np.nan), ("all values zero", 0.0), ("infinite values", np.inf)):
        spoiled = _spoil(data.select(np.array([1, 0], dtype=np.int64)), value)
        result = prepared.fit(spoiled)
        _check_shapes(method, model, result, 2, f"{where}, {what}")
        assert result.status[0] != int(Status.OK), f"{where}: a data set with {what} was reported as converged"
        _same(result.select(np.array([1])), good, where, f"a data set with {what} changed its neighbour")


def _spoil(data: TwoLevelStatistics | Sample, value: float) -> TwoLevelStatistics | Sample:
    """Put ``value`` in all numbers of the first replicate."""
    changed = {}
    for name, array in _arrays(data).items():
        array[0] = value
        changed[name] = array
    return dataclasses.replace(data, **changed)


def _arrays(data: TwoLevelStatistics | Sample) -> dict[str, Any]:
    found = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    return {name: value.copy() for name, value in found.items() if isinstance(value, np.ndarray)}


def _same(a: FitResult, b: FitResult, where: str, what: str) -> None:
    pairs = [(name, getattr(a, name), getattr(b, name)) for name in ("estimate", "status", "admissible", "n_iter")]
    pairs += [("loglik", a.loglik, b.loglik)]
    pairs += [(f"covariance '{kind}'", cov, b.covariance[kind]) for kind, cov in a.covariance.items()]
    for name, left, right in pairs:
        equal = np.array_equal(left, right, equal_nan=name not in ("status", "admissible", "n_iter"))
        assert equal, f"{where}: {what} ({name})"


def _data(method: Estimator, population: Population, replicates: range) -> Any:
    return data_kind(method.needs).draw(population, 20090306, replicates)


def _population(model: TwoLevelModel, layout: ClusterLayout) -> Population:
    """Slopes .3, loadings .8, variances .8 within and .4 between (of random slopes: .15), no residual covariances."""
    values, slopes = np.zeros(len(model.names)), {slope.name for slope in model.slopes}
    for row in model.table.rows:
        if row.free >= 0 and row.op in ("~", "=~"):
            values[row.free] = 0.3 if row.op == "~" else 0.8
        elif row.free >= 0 and row.op == "~~" and row.lhs == row.rhs:
            values[row.free] = 0.8 if row.level == "within" else 0.15 if row.lhs in slopes else 0.4
    return Population(model, tuple(values.tolist()), layout, f"contract {layout.sizes}")
