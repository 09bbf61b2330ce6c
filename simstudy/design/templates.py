"""Starter designs that come with the package: `simstudy init`, and the short form of `simstudy plan`."""

from __future__ import annotations

from importlib.resources import files

from simstudy.errors import DesignError, did_you_mean

_SUFFIX = ".toml"


def template_names() -> tuple[str, ...]:
    """Names of all templates, sorted."""
    folder = files("simstudy.design") / "templates"
    return tuple(sorted(entry.name[: -len(_SUFFIX)] for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)))


def template_text(name: str) -> str:
    """Text of a template, a design file.

    Raises
    ------
    DesignError
        If there is no such template.
    """
    names = template_names()
    if name not in names:
        raise DesignError(f"template: there is no '{name}'{did_you_mean(name, names)}; allowed: {', '.join(names)}")
    return (files("simstudy.design") / "templates" / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def template_title(name: str) -> str:
    """First sentence of a template's comment."""
    return template_text(name).splitlines()[0].removeprefix("# ").split(". ")[0].rstrip(".")
