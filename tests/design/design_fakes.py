"""A valid design file in sections, to be spoilt one at a time, and a method that does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from simstudy.design import Design, parse_design
from simstudy.methods.protocol import Estimator

SECTIONS = {
    "study": 'name = "t"\nreplications = 10\nseed = 1',
    "model": 'syntax = """\nlevel: within\n  y ~ bw*x\nlevel: between\n  y ~ bb*x\n"""',
    "population": 'bw = 0.2\nbb = 0.7\nvariance = 1.0\nicc = { x = "icc", y = 0.2 }',
    "factors": "n_clusters = [30, 50]\ncluster_size = [5, { uniform = [2, 18] }]\nicc = [0.1, 0.3]",
    "exclude": "",
    "estimators": 'use = ["fake"]',
    "intervals": "",
}
POPULATION = SECTIONS["population"]


@dataclass(frozen=True)
class Fake(Estimator):
    """A method that does nothing."""

    name: ClassVar[str] = "fake"
    title: ClassVar[str] = "Fake"
    reference: ClassVar[str] = "nobody"
    levels: ClassVar[tuple[str, ...]] = ("within", "between")
    can: ClassVar[str] = ""
    cannot: ClassVar[str] = ""
    needs: ClassVar[str] = "statistics"
    se_kinds: ClassVar[tuple[str, ...]] = ("expected",)

    se: tuple[Literal["expected", "robust"], ...] = ("expected",)
    estimator_steps: int = 3

    def supports(self, model: object, layout: object) -> str | None:
        return "too many clusters" if layout.n_clusters > 30 else None  # type: ignore[attr-defined]

    def prepare(self, model: object, layout: object) -> object:
        raise NotImplementedError


def text_of(**sections: str) -> str:
    """A design file; sections given replace those of a valid one."""
    parts = []
    for name, body in (SECTIONS | sections).items():
        if body:
            parts.append(f"[[{name}]]\n{body}" if name == "exclude" else f"[{name}]\n{body}")
    return "\n".join(parts) + "\n"


def design(**sections: str) -> Design:
    return parse_design(text_of(**sections), "d.toml")
