"""The report and the preregistration say what the design and the tables say, and the HTML stands alone."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simstudy import api
from simstudy.design import Design, load_design, parse_design
from simstudy.errors import SimstudyError
from simstudy.report.document import sentences as words
from simstudy.report.document.payload import payload

DESIGNS = Path(__file__).resolve().parents[2] / "designs"
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements of a page with their attributes; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.elements[-1][1].get("id", "")] = data
        elif self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study that has run, with a method that the model is not for."""
    root = tmp_path_factory.mktemp("report") / "results"
    text = (DESIGNS / "smoke.toml").read_text(encoding="utf-8")
    api.run(parse_design(text), out=root, reps=12, jobs=1, progress=False)
    return root


@pytest.fixture(scope="module")
def page(study: Path) -> Page:
    return Page(api.write_report(study).read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_from_outside(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_page_is_accessible(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("svg")
    assert all(len(image["aria-label"]) > 20 and image["role"] == "img" for image in page.all("svg"))
    assert all("scope" in heading for heading in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {attributes["href"][1:] for attributes in page.all("a") if attributes["href"].startswith("#")}
    assert anchors <= set(ids)


def test_the_page_follows_ademp_and_names_seed_and_commands(page: Page, study: Path) -> None:
    ids = [attributes["id"] for name, attributes in page.elements if name == "section"]
    expected = ["aims", "data", "estimands", "methods", "performance", "failures", "meaning", "reproduce"]
    assert ids == expected
    assert f"Seed {load_design(DESIGNS / 'smoke.toml').seed}" in page.text
    assert f"simstudy run smoke.toml --reps 12 --out {study.as_posix()}" in page.text
    assert "simstudy replay" in page.text


def test_the_selector_has_the_numbers_of_the_performance_table(page: Page, study: Path) -> None:
    data = json.loads(page.scripts["numbers"])
    performance = api.analyse(study).to_frame()
    names = [name for name, _ in data["measures"]]
    checked = 0
    for cell, basis, parameter, estimator, kind, *_, numbers in data["rows"]:
        rows = performance[
            (performance["cell"] == cell)
            & (performance["basis"] == data["bases"][basis][0])
            & (performance["parameter"] == data["parameters"][parameter])
            & (performance["estimator"] == data["estimators"][estimator])
            & (performance["se_kind"] == (data["kinds"][kind] if kind >= 0 else ""))
        ].set_index("measure")
        assert rows.index.is_unique
        for name, pair in zip(names, numbers, strict=True):
            value = rows["value"].get(name, np.nan)
            if pair is None:
                assert np.isnan(value) or (data["bases"][basis][0] == "common" and name not in data["main"])
            else:
                assert pair[0] == pytest.approx(value, rel=6e-4)  # four digits are kept
                checked += 1
    assert checked > 100


def test_numbers_cannot_close_the_script_element(study: Path) -> None:
    performance = api.analyse(study).to_frame()
    odd = performance.assign(parameter=performance["parameter"].replace("bw", "</script><b>"))
    text = payload(odd, [], ["</script><b>"], list(odd["estimator"].unique()))
    assert "</script" not in text
    assert json.loads(text)["parameters"] == ["</script><b>"]


@pytest.mark.slow
def test_a_report_without_its_plug_in_says_so(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(text: str, source: str) -> Design:
        raise SimstudyError("method 'gone:Gone' cannot be imported")

    monkeypatch.setattr("simstudy.api.reporting.parse_design", gone)
    text = api.write_report(study, study / "other.html").read_text(encoding="utf-8")
    assert "gone:Gone" in text


@pytest.mark.parametrize("path", sorted(DESIGNS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_design_can_be_preregistered(path: Path) -> None:
    design = load_design(path)
    text = api.preregister(design)
    assert len(re.findall(r"^### ", text, flags=re.MULTILINE)) == 20  # questions of the template
    assert re.findall(r"^## (.*)", text, flags=re.MULTILINE) == [
        "General Information",
        "Aims",
        "Data-Generating Mechanism",
        "Estimands and Targets",
        "Methods",
        "Performance Measures",
        "Other",
        "Design file",
    ]
    for entry in design.estimators:
        assert f"**{entry.name}**" in text
    assert f"{design.replications:,} replications" in text


def test_implied_moments_have_the_icc_asked_for() -> None:
    design = load_design(DESIGNS / "conflation.toml")
    cell = next(cell for cell in design.cells if cell.factors["icc"] == 0.05 and cell.factors["cluster_size"] == "10")
    facts, covariances = words.implied_moments(cell)
    row = dict(zip(facts.header, next(row for row in facts.rows if row[0] == "x"), strict=True))
    assert row["ICC"] == "0.0500"
    assert row["Reliability"] == "0.3448"  # .05 / (.05 + .95/10)
    assert covariances.rows[0][1:] == ("0.1900", "0.2179", "0.0350", "0.3500")  # .2 x .95, .7 x .05


def test_how_factors_are_combined() -> None:
    design = load_design(DESIGNS / "conflation.toml")
    assert words.combination(design).startswith("Partially factorial: of 4")
    assert "leaves 75 conditions" in words.combination(design)
    one = dataclasses.replace(design, cells=design.cells[:1], factor_names=())
    assert words.combination(one) == "No factor is varied: there is one condition."


def test_precision_is_that_of_a_binomial_rate() -> None:
    design = dataclasses.replace(load_design(DESIGNS / "smoke.toml"), replications=1900)
    assert "coverage of 0.95 is 0.0050" in words.precision(design)  # Theory B9: 1,900 for half a point


def test_an_unfinished_study_says_so(study: Path, tmp_path: Path) -> None:
    text = (DESIGNS / "smoke.toml").read_text(encoding="utf-8")
    api.run_study(parse_design(text), tmp_path / "r", reps=10, jobs=1, block_size=5, shard="1/2", progress=False)
    assert "not complete" in api.write_report(tmp_path / "r").read_text(encoding="utf-8")


def test_estimands_name_what_they_are() -> None:
    rows = words.estimands(load_design(DESIGNS / "mediation_111.toml")).rows
    assert ("ind_b", "defined", ":= ab*bb", "0.2") in rows
    assert isinstance(rows, tuple)
    assert pd.DataFrame(rows)[0].is_unique


def test_random_slopes_are_said_to_make_data() -> None:
    said = " ".join(words.generation(load_design(DESIGNS / "random_slopes.toml")))
    assert "of y on x" in said
    assert "latent within part" in said
    assert "vary over clusters" not in " ".join(words.generation(load_design(DESIGNS / "smoke.toml")))
