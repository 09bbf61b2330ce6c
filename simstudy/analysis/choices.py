"""The choices of a fit: which there are, whether a method has them, and the method that they make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simstudy.errors import EstimatorError, did_you_mean
from simstudy.methods import registry
from simstudy.methods.protocol import Estimator
from simstudy.requests.fit import INTERVALS, FitRequest
from simstudy.requests.option import problems_of

PLAIN = {
    "missing": "listwise", "fixed_x": False, "bounds": None, "slopes": None, "nodes": None, "h1": None,
}  # fmt: skip
"""Choices that only some methods have, and what they are where nothing was chosen."""


SE_WORDS = {
    "mlr": "robust", "robust.huber.white": "robust", "robust.cluster": "robust", "standard": "expected",
}  # fmt: skip
"""What lavaan and Mplus call standard errors."""


def lavaan_words(estimator: str, se: str | None) -> tuple[str, str | None]:
    """Method and kind of SE, of which either may be given as lavaan and Mplus call it.

    Raises
    ------
    EstimatorError
        For estimators of theirs that are none of ours, and where estimator and SE contradict each other.
    """
    kind = SE_WORDS.get(se.lower(), se) if se is not None else None
    if estimator in (*registry.names(), "all") or ":" in estimator:
        return estimator, kind
    word = estimator.lower()
    if word in ("ml", "mlr"):
        if word == "mlr" and kind not in (None, "robust"):
            raise EstimatorError(
                f"estimator: MLR means robust standard errors, and se is '{se}'; leave one of them out"
            )
        return "msem", "robust" if word == "mlr" else kind
    if word in ("mlf", "wls", "wlsm", "wlsmv", "uls", "ulsmv", "gls", "dwls"):
        raise EstimatorError(
            f"estimator: '{estimator}' of lavaan and Mplus is not supported; allowed: ML and MLR (which mean msem), "
            f"{', '.join(registry.names())}"
        )
    return estimator, kind


def in_our_words(request: FitRequest) -> FitRequest:
    """The request with method, kind of SE and bounds as they are called here (see `lavaan_words`)."""
    estimator, se = lavaan_words(request.estimator, request.se)
    return replace(request, estimator=estimator, se=se, bounds=our_bounds(request.bounds))


def our_bounds(bounds: str | None) -> str | None:
    """Bounds of all variances, which lavaan calls ``pos.var``, as they are called here."""
    return "variances" if bounds == "pos.var" else bounds


def intervals_of(name: str | None) -> tuple[str, ...]:
    """Kinds of intervals of a method, or without a name of any: those that all have, and its own."""
    own: list[str] = []
    for method in registry.names() if name is None else [name]:
        try:
            own += registry.find(method).interval_kinds
        except EstimatorError:  # reported where the method is asked for
            continue
    return tuple(dict.fromkeys([*INTERVALS, *own]))


def interval_problems(ci: str, allowed: tuple[str, ...], name: str = "ci") -> list[str]:
    """What is wrong with a kind of intervals, if it is none of those allowed."""
    if ci in allowed:
        return []
    return [f"{name}: found '{ci}'; allowed: {', '.join(allowed)}{did_you_mean(ci, allowed)}"]


def check_interval(ci: str, allowed: tuple[str, ...]) -> None:
    """Raise an `EstimatorError` for a kind of intervals that is none of those allowed."""
    problems = interval_problems(ci, allowed)
    if problems:
        raise EstimatorError(problems)


def check_choices(request: FitRequest) -> None:
    """Raise an `EstimatorError` with everything that is wrong with single choices of a fit."""
    problems = problems_of(request) + interval_problems(request.ci, intervals_of(request.estimator))
    problems += weight_problems(request.weights)
    if problems:
        raise EstimatorError(problems)


def check_no_slopes(slopes: str | None, nodes: int | None) -> None:
    """Raise an `EstimatorError` for choices that go with random slopes only."""
    asked = [key for key, value in (("slopes", slopes), ("nodes", nodes)) if value is not None]
    if asked:
        raise EstimatorError(
            [f'{key}: the model has no random slope to which it applies; write one as y ~ rv("s")*x' for key in asked]
        )


def weight_problems(weights: str | None, name: str = "weights") -> list[str]:
    """Why sampling weights are refused: no method uses them."""
    if weights is None:
        return []
    return [
        f"{name}: sampling weights ('{weights}') are not supported. Two-level models need weights of rows given their "
        "cluster and of clusters, scaled in one of several ways, which matters in small clusters (Asparouhov 2006; "
        "Rabe-Hesketh & Skrondal 2006). Without weights, estimates are consistent where the model holds the variables "
        "that decided on inclusion (strata, size of the school): name them as predictors"
    ]


def make_method(request: FitRequest, *, slopes: bool = False) -> Estimator:
    """The method with what was chosen, for models with random ``slopes`` or none; raises where it has no such choice.

    With random slopes ``expected`` is the kind of SE of its name, not what the method takes in its place by default.
    """
    name, se = request.estimator, request.se
    fields = registry.options(name)
    chosen: dict[str, Any] = dict(request.options or {})
    if se is not None and "se" in fields:
        chosen["se"] = ["expected", "observed"] if se == "expected" and slopes and "slopes" in fields else [se]
    elif se is not None and not _has_se(name, se):
        words = {"expected": "model-based ('expected')", "robust": "cluster-robust ('robust')"}
        kinds = " and ".join(words.get(kind, f"'{kind}'") for kind in registry.create(name).se_kinds)
        raise EstimatorError(f"method '{name}' has {kinds} standard errors only; found se '{se}'")
    for key, plain in PLAIN.items():
        value = getattr(request, key)
        if value in (plain, "none"):
            continue
        if key not in fields:
            raise EstimatorError(f"method '{name}' has no choice of '{key}'; it goes with {_methods_with(key)}")
        chosen[key] = value
    if "interval_level" in fields:
        chosen.setdefault("interval_level", request.ci_level)
    if "measures" in fields:
        chosen.setdefault("measures", True)
    if request.missing == "fiml" and se is None:
        chosen.setdefault("se", ["observed"])
    elif "se" in fields and se is None:
        chosen.setdefault("se", list(registry.create(name).se_kinds[:1]))
    return registry.create(name, chosen)


def _methods_with(option: str) -> str:
    *others, last = [name for name in registry.names() if option in registry.options(name)]
    return f"{', '.join(others)} and {last}" if others else last


def own_choices(name: str, request: FitRequest) -> tuple[FitRequest, list[str]]:
    """The request for one method, without the choices that it has not, and the names of those."""
    plain: dict[str, Any] = {}
    dropped = []
    for key, default in PLAIN.items():
        value = getattr(request, key)
        if value in (default, "none"):
            continue
        if key not in registry.options(name):
            plain[key] = default
            dropped.append(key)
        elif not _accepts(name, key, value):  # mlm has a choice of slopes too, but not all of msem's
            plain[key] = default
            dropped.append(f"{key} = {value}")
    if request.ci not in intervals_of(name):
        plain["ci"] = "wald"
        dropped.append(f"ci = {request.ci}")
    if request.se is not None and not _has_se(name, request.se):
        plain["se"] = None
        dropped.append(f"se = {request.se}")
    return replace(request, estimator=name, **plain), dropped


def chooses_slopes(name: str) -> bool:
    """Whether a method has the choice of what random slopes multiply."""
    return "slopes" in registry.options(name) and _accepts(name, "slopes", "latent")


def _has_se(name: str, kind: str) -> bool:
    """Whether a method has a kind of SE, or can be asked for it."""
    if "se" not in registry.options(name):
        return kind in registry.create(name).se_kinds
    return _accepts(name, "se", [kind])


def _accepts(name: str, option: str, value: object) -> bool:
    try:
        registry.create(name, {option: value})
    except EstimatorError:
        return False
    return True
