"""`simstudy estimators`: the story of the methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from simstudy import api
from simstudy.cli import app
from simstudy.errors import EstimatorError
from simstudy.methods import registry
from simstudy.report.tables.story import story_lines, story_table_lines

BUILT_IN = [name for name in registry.names() if registry.find(name).__module__.startswith("simstudy.")]


def run(*arguments: str):
    return CliRunner().invoke(app, ["estimators", *arguments])


def test_the_table_has_every_method_in_order_with_its_year() -> None:
    done = run()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["Method", "Year", "What", "it", "is"]
    rows = [line.split() for line in lines[1 : lines.index("")] if not line.startswith(" ")]
    assert [row[0] for row in rows] == list(registry.names())
    assert all(1900 < int(row[1]) < 2030 for row in rows)
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_method_tells_its_story(name) -> None:
    cls = registry.find(name)
    assert isinstance(cls.year, int)
    assert len(cls.idea) > 20
    assert cls.idea[0].islower()  # one sentence, written as `can` and `cannot` are
    assert ". " not in cls.idea + " "
    assert str(cls.year) in cls.reference  # the year is that of a reference
    told = api.describe_estimator(name)
    done = run(name)
    assert done.exit_code == 0
    flat = " ".join(done.stdout.split())
    for part in ("title", "idea", "can", "cannot", "reference"):
        assert " ".join(told[part].split()) in flat
    assert told["theory"] == "; ".join(cls.theory)
    assert " ".join(cls.theory) in flat
    for option in registry.options(name):
        assert f"{option} = " in flat


def test_two_methods_and_the_full_list() -> None:
    two = run("mlm", "croon").stdout
    assert two.startswith("mlm: ")
    assert "\ncroon: " in two
    full = run("--full").stdout
    assert full.count("cannot:") == len(registry.names())
    assert full.count("idea:") >= len(BUILT_IN)


def test_an_unknown_name_is_one_clear_message() -> None:
    done = run("croom")
    assert done.exit_code == 2
    assert "unknown method 'croom' (did you mean 'croon'?)" in done.output
    with pytest.raises(EstimatorError):
        api.describe_estimator("croom")


def test_options_are_told_with_what_else_they_may_be() -> None:
    options = {row["estimator"]: row["options"] for row in api.estimators().to_dict("records")}
    assert options["mlm"] == "likelihood = reml (or ml); slopes = random (or fixed)"
    assert options["croon"] == "se = robust (also expected, corrected); first_step = anova (or ml)"
    assert "fixed_x = false (or true)" in options["msem"]
    assert options["disaggregated_robust"] == ""


@dataclass(frozen=True)
class Bare:
    """A plug-in that tells nothing beyond what the protocol asks for."""

    name: ClassVar[str] = "bare"
    title: ClassVar[str] = "a method from elsewhere"
    reference: ClassVar[str] = "nobody"
    levels: ClassVar[tuple[str, ...]] = ("within",)
    can: ClassVar[str] = "nothing"
    cannot: ClassVar[str] = "anything"
    needs: ClassVar[str] = "statistics"
    se_kinds: ClassVar[tuple[str, ...]] = ("expected",)
    weights: tuple[float, ...] = field(default_factory=lambda: (1.0, 2.0))
    how: "Missing" = None  # noqa: F821, UP037

    def supports(self, model, layout):
        return "it is only a test"

    def prepare(self, model, layout):
        raise NotImplementedError


def test_a_plug_in_without_year_and_idea_is_listed_too(monkeypatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    registry.register(Bare)
    table = api.estimators()
    assert table["year"].isna().tolist() == [False] * (len(table) - 1) + [True]
    lines = [line.text for line in story_table_lines(api.story(), 110)]
    assert lines[-1].split() == ["bare", "a", "method", "from", "elsewhere"]
    told = [line.text for line in story_lines(api.describe_estimator("bare"), 110)]
    assert told[0] == "bare: a method from elsewhere"
    assert not any("idea" in text or "formulas" in text for text in told)
    assert "  options:   weights = (1.0, 2.0)" in told
    assert run("bare").exit_code == 0
    assert run().exit_code == 0


def test_narrow_terminals_get_short_lines() -> None:
    lines = story_table_lines(api.story(), 60)
    assert max(len(line.text) for line in lines) <= 60
    lines = story_lines(api.describe_estimator("msem") | {"details": ""}, 60)
    assert max(len(line.text) for line in lines) <= 60
