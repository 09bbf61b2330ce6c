"""What `simstudy fit` is given: options, model, data; everything that is wrong with them is reported together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simstudy.errors import EstimatorError, ModelError, SimstudyError, did_you_mean
from simstudy.requests.fit import FitRequest
from simstudy.requests.option import problems_of

if TYPE_CHECKING:
    from simstudy.model.twolevel import TwoLevelModel

ALL = "all"
"""In place of a method's name: all of them."""


def read_inputs(request: FitRequest, options: list[str], plot: Path | None) -> FitRequest:
    """The request with model, data and options of the method read; all that is wrong with them is reported together."""
    from simstudy.analysis.choices import in_our_words, interval_problems, intervals_of, weight_problems
    from simstudy.analysis.read import read_data

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
        lambda: _read_model(str(request.model), std_lv=request.std_lv, auto=_known_rule(request.auto)),
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
    from simstudy.report.figures.diagram.draw import FORMATS

    if plot is None or plot.suffix.lower().removeprefix(".") in FORMATS:
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


def _read_model(model: str, *, std_lv: bool, auto: str) -> TwoLevelModel:
    """The model in a file, or the text itself."""
    from simstudy.model.foreign import is_foreign
    from simstudy.model.twolevel import TwoLevelModel

    path = Path(model)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError:  # too long to be a name
        is_file = is_folder = False
    if not is_file and "level:" not in model.replace(" ", "").lower() and not is_foreign(model):
        folder = path.parent
        near = [other.name for other in folder.iterdir()] if folder.is_dir() else []
        what = "this is a folder" if is_folder else f"there is no such file{did_you_mean(path.name, near)}"
        raise ModelError(f"{model}: {what}; give a model file, or the text itself with its 'level:' blocks")
    if not is_file:
        return TwoLevelModel.from_syntax(model, std_lv=std_lv, auto=auto)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ModelError(f"{path}: this is not a text file") from None
    try:
        return TwoLevelModel.from_syntax(text, std_lv=std_lv, auto=auto)
    except ModelError as error:
        raise ModelError([f"{path}: {problem}" for problem in error.problems]) from error
