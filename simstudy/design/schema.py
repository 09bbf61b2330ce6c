"""The sections of a design file: which keys there are, and what each may hold.

A field's description is what an error message says is allowed. What only makes sense together (factors, expressions,
the generating model) is checked in `cells`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from simstudy.design.problems import Path, Problems
from simstudy.errors import did_you_mean

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENTRY = "a number or an expression of factors and values, in quotes"


class Section(BaseModel):
    """A table of the file: unknown keys are errors, types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StudySection(Section):
    """``[study]``."""

    name: str = Field(pattern=NAME, description="letters, digits, '.', '_' and '-', as in a file's name")
    aim: str = Field(default="", description="text")
    replications: int = Field(ge=1, description="a whole number of at least 1")
    seed: int = Field(description="a whole number")


class ModelSection(Section):
    """``[model]``."""

    syntax: str = Field(min_length=1, description="model text with 'level: within' and 'level: between'")
    std_lv: bool = Field(default=False, description="true or false")


class PopulationSection(Section):
    """``[population]``: settings of its own; every other key is a generating value, by label or by path."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    syntax: str | None = Field(default=None, min_length=1, description="model text of the generating model")
    variance: Any = Field(default=None, description=f"{ENTRY}, or a table of such by variable")
    icc: Any = Field(default=None, description=f"{ENTRY}, or a table of such by variable")
    n_clusters: Any = Field(default=None, description=ENTRY)
    cluster_size: Any = Field(default=None, description="a specification of cluster sizes")
    clusters: Any = Field(default=None, description='text such as "40 (5) 50 (10)"')
    distribution: Any = Field(default=None, description="a table, for both levels or by level")
    missing: Any = Field(default=None, description="a table of mcar, mar or both")
    slopes: Literal["latent", "observed"] | None = Field(
        default=None,
        description='"latent" (a random slope multiplies the deviation from the latent cluster mean) or "observed"',
    )


class EstimatorsSection(Section):
    """``[estimators]``: the methods to use; every other key is a table of options of one method."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    use: list[str] = Field(min_length=1, description='a list of methods such as ["mlm", "msem"]')


class IntervalsSection(Section):
    """``[intervals]``."""

    level: float = Field(default=0.95, gt=0.0, lt=1.0, description="a number between 0 and 1, such as 0.95")
    kinds: list[Literal["wald", "montecarlo"]] = Field(
        default=["wald"], min_length=1, description='a list of "wald" and "montecarlo"'
    )
    draws: int = Field(default=1000, ge=100, description="a whole number of at least 100")


class RunSection(Section):
    """``[run]``: how the study is run; nothing here changes a number."""

    timeout: float | None = Field(default=None, gt=0.0, allow_inf_nan=False, description="seconds a fit, more than 0")


class DesignFile(Section):
    """A whole file."""

    study: StudySection
    model: ModelSection
    population: PopulationSection = Field(default=PopulationSection(), description="a table of generating values")
    factors: dict[str, list[Any]] = Field(default={}, description="a list of values for each factor")
    exclude: list[dict[str, Any]] = Field(default=[], description="tables of factor values, each under [[exclude]]")
    estimators: EstimatorsSection
    intervals: IntervalsSection = Field(default=IntervalsSection(), description="a table")
    run: RunSection = Field(default=RunSection(), description="a table")


RESERVED = tuple(PopulationSection.model_fields)
"""Keys of ``[population]`` that are no generating values."""


_PLACEHOLDERS: dict[str, Any] = {
    "study": {"name": "study", "replications": 1, "seed": 0},
    "model": {"syntax": "?"},
    "population": {},
    "factors": {},
    "exclude": [],
    "estimators": {"use": ["?"]},
    "intervals": {},
    "run": {},
}


def check_schema(raw: Mapping[str, Any], problems: Problems) -> tuple[DesignFile, frozenset[str]]:
    """Check keys and types.

    Returns
    -------
    DesignFile
        What can be used: keys that cannot are left out.
    frozenset of str
        Sections that cannot be used at all; a placeholder stands for them, so that the rest can still be checked.
    """
    try:
        return DesignFile.model_validate(raw), frozenset()
    except ValidationError as error:
        details = error.errors(include_url=False)
    usable = {name: dict(table) if isinstance(table, dict) else table for name, table in raw.items()}
    bad: set[str] = set()
    for detail in details:
        path = tuple(detail["loc"])
        problems.add(*_message(path, detail))
        name = str(path[0])
        if name not in DesignFile.model_fields:
            usable.pop(name)
        elif len(path) > 1 and _may_go(name, path[1]):
            usable[name].pop(path[1], None)
        else:
            bad.add(name)
    for name in bad:
        usable[name] = _PLACEHOLDERS[name]
    return DesignFile.model_validate(usable), frozenset(bad)


def _may_go(section: str, key: str | int) -> bool:
    """Whether a section is valid without a key: it is unknown, or has a default."""
    model = DesignFile.model_fields[section].annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return False
    return key not in model.model_fields or not model.model_fields[str(key)].is_required()


def _message(path: Path, detail: ErrorDetails) -> tuple[Path, str]:
    """Path and text of one of pydantic's errors."""
    if detail["type"] == "extra_forbidden":
        allowed = tuple(_section(path[:-1]).model_fields)
        kind = "key" if len(path) > 1 else "section"
        return path, f"unknown {kind}{did_you_mean(str(path[-1]), allowed)}; allowed: {', '.join(allowed)}"
    if detail["type"] == "missing":
        if len(path) == 1:
            return path, f"the section [{path[0]}] is missing"
        return path, f"missing; needed: {_allowed(path)}"
    return path, f"found {shown(detail['input'])}; allowed: {_allowed(path)}"


def _section(path: Path) -> type[BaseModel]:
    """The section that a path leads to."""
    section: type[BaseModel] = DesignFile
    for part in path:
        section = section.model_fields[str(part)].annotation  # type: ignore[assignment]
    return section


def _allowed(path: Path) -> str:
    """Description of the field at a path, or of the closest one around it."""
    section: Any = DesignFile
    described = ""
    for part in path:
        if not (isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields):
            break
        entry = section.model_fields[str(part)]
        described, section = entry.description or f"a section [{part}]", entry.annotation
    return described


def shown(value: object) -> str:
    """A value as TOML shows it, shortened."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
