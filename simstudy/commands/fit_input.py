"""What `simstudy fit` is given: options, model, data; everything that is wrong with them is reported together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from simstudy.errors import EstimatorError, SimstudyError, did_you_mean
from simstudy.requests.fit import FitRequest
from simstudy.requests.option import problems_of

ALL = "all"
"""In place of a method's name: all of them."""


def read_inputs(request: FitRequest, options: list[str], plot: Path | None) -> FitRequest:
    """The request with model, data and options of the method read; all that is wrong with them is reported together."""
    from simstudy.analysis.choices import in_our_words, interval_problems, intervals_of, weight_problems
    from simstudy.analysis.inputs import as_model, what_is_beside
    from simstudy.analysis.read import read_data

    if ":" in request.estimator:
        from simstudy.design.load import find_modules_beside

        find_modules_beside(Path("own.py"))  # in the current folder
    try:
        request = in_our_words(request)
    except EstimatorError as error:
        raise EstimatorError([f"--{problem}" for problem in error.problems]) from error
    of_all = request.estimator == ALL
    problems = problems_of(request, flags=True)
    problems += interval_problems(request.ci, intervals_of(None if of_all else request.estimator), "--ci")
    problems += weight_problems(request.weights, "--weights")
    problems += _check_estimator(request.estimator, options) + _check_plot(plot)
    found: list[Any] = []
    steps: tuple[Callable[[], Any], ...] = (
        lambda: _parse_options(options),
        lambda: as_model(
            str(request.model),
            std_lv=request.std_lv,
            auto=_known_rule(request.auto),
            beside=lambda: what_is_beside(str(request.data), request.cluster),
        ),
        lambda: read_data(str(request.data)),
    )
    for step in steps:
        try:
            found.append(step())
        except SimstudyError as error:
            problems += error.problems
    if problems:
        raise SimstudyError(problems)
    return replace(request, options=found[0], model=found[1], data=found[2], auto="simstudy")  # it has been read by it


def _check_estimator(name: str, options: list[str]) -> list[str]:
    from simstudy.methods import registry

    if name == ALL:
        return ["--option: options belong to one method; name it with --estimator"] if options else []
    try:
        registry.find(name)
    except EstimatorError as error:
        known = [*registry.names(), ALL]
        if ":" in name:
            return [f"--estimator: {problem}" for problem in error.problems]
        return [f"--estimator: found '{name}'; allowed: {', '.join(known)}{did_you_mean(name, known)}"]
    return []


def _check_plot(plot: Path | None) -> list[str]:
    if plot is None:
        return []
    from simstudy.report.figures.diagram.draw import FORMATS

    if plot.suffix.lower().removeprefix(".") in FORMATS:
        return []
    allowed = [f".{name}" for name in FORMATS]
    hint = did_you_mean(plot.suffix.lower(), allowed)
    return [f"--plot: found '{plot}'; a diagram is written as {', '.join(allowed)}{hint}"]


def _parse_options(options: list[str]) -> dict[str, Any]:
    """``key=value`` pairs; numbers, true and false are read as such, commas make lists."""
    problems = [f"--option: found '{text}'; write key=value" for text in options if not text.partition("=")[0].strip()]
    problems += [f"--option: found '{text}'; write key=value" for text in options if "=" not in text]
    if problems:
        raise EstimatorError(list(dict.fromkeys(problems)))
    found: dict[str, Any] = {}
    for text in options:
        key, _, value = text.partition("=")
        parts = [_value(part.strip()) for part in value.split(",")]
        found[key.strip()] = parts if len(parts) > 1 else parts[0]
    return found


def _value(text: str) -> Any:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _known_rule(auto: str) -> str:
    """A rule of the automatic covariances to read the model by; one that there is not is told elsewhere."""
    from simstudy.model.defaults import AUTO

    return auto if auto in AUTO else AUTO[0]
