"""Tables as LaTeX, HTML, Markdown and CSV: nothing is lost, nothing breaks the format, the styles' numbers are ours."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report_tables import FACTORS, METHODS, R, study

from simstudy.errors import SimstudyError
from simstudy.performance import MEASURES, measure_names
from simstudy.report import FORMATS, STYLES, effect_blocks, format_performance
from simstudy.report.tables.blocks import Definitions, Heading, Paragraph
from simstudy.report.tables.render import latex_escape, to_html, to_latex, to_lines, to_markdown
from simstudy.report.tables.text import TextTable

ABOUT = {"factors": FACTORS, "level": 0.95, "study_name": "demo", "replications": R}
NASTY = r"50% & more_than #1 {a} ~ b^2 < c > d | $x$ \y [z] *s*"


def formatted(format: str, style: str = "simstudy", n_cells: int = 2, **options: object) -> str:
    return format_performance(*study(n_cells), format, style=style, **ABOUT, **options)


def casewise(cell: int, name: str, kind: str = "expected", parameter: str = "bb") -> pd.Series:
    rows = study()[0].query("cell == @cell and estimator == @name and se_kind == @kind and parameter == @parameter")
    return rows[rows["basis"].isin(["casewise", "paired"])].set_index("measure")["value"]


class Page(HTMLParser):
    """Counts of tags, and what a reader of the page's tables meets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))


@pytest.mark.parametrize("style", list(STYLES))
@pytest.mark.parametrize("n_cells", [2, 20])
def test_html_is_well_formed_and_accessible(style: str, n_cells: int) -> None:
    text = formatted("html", style, n_cells)
    page = Page(text)
    assert page.open == []
    assert not re.search(r"(src|href)=|@import|url\(", text)  # nothing from anywhere
    tables = [place for place, (tag, _) in enumerate(page.tags) if tag == "table"]
    captions = [place for place, (tag, _) in enumerate(page.tags) if tag == "caption"]
    assert captions == [place + 1 for place in tables]  # every table says first what it is
    headers = [attributes for tag, attributes in page.tags if tag == "th"]
    assert headers
    assert {attributes.get("scope") for attributes in headers} <= {"col", "row", "colgroup"}
    assert ("html", {"lang": "en"}) in page.tags
    assert [data for tag, data in page.texts if tag == "title"] == ["demo"]


@pytest.mark.parametrize("style", list(STYLES))
def test_every_format_says_what_failed(style: str) -> None:
    for format in set(FORMATS) - {"csv"}:
        text = formatted(format, style)
        assert "Failures (135 of 360 fits, 2 cells)" in text
        assert "135" in text
        assert "Common replicates" in text
    assert formatted("text", style).splitlines()[0].startswith(("demo", "MONTE CARLO RESULTS  demo"))


def test_the_same_cells_in_every_format() -> None:
    """What the terminal shows of a table stands in the other formats too."""
    options = {"cells": [1], "parameters": ["bb"]}
    row = next(line for line in formatted("text", **options).splitlines() if line.startswith("latent"))
    numbers = [part for part in re.split(r"\s{2,}", row) if part][2:]
    html = [data for _, data in Page(formatted("html", **options)).texts]
    markdown = formatted("markdown", **options)
    for part in numbers:
        assert part in html
        assert part in markdown
    latex = formatted("latex", measures=["bias", "coverage"], **options)
    value = casewise(1, "latent")["bias"]
    assert f"{'$-$' if value < 0 else ''}{abs(value):.4f}" in latex


def test_latex_text_is_literal() -> None:
    assert latex_escape("a_b & 5%") == r"a\_b \& 5\%"
    assert latex_escape("-0.45 (0.01)") == "$-$0.45 (0.01)"
    assert latex_escape("-") == "-"  # undefined, not minus
    assert latex_escape("within: y ~~ y") == r"within: y \textasciitilde{}\textasciitilde{} y"
    left = re.sub(r"\\[a-z]+(\{\})?|\\[&%$#_{}]|\{[\[\]]\}", "", latex_escape(NASTY))
    assert not set(left) & set("\\&%$#_{}~^<>|[]")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
@pytest.mark.slow
@pytest.mark.parametrize("style", list(STYLES))
def test_latex_compiles(style: str, tmp_path: Path) -> None:
    nasty = TextTable((NASTY, "n"), ((NASTY, "-1.5"), ("[1]", "-")), groups=((NASTY, 2),), title=NASTY)
    blocks = [
        Heading(NASTY),
        nasty,
        Paragraph(NASTY),
        Paragraph(NASTY, quiet=True),
        Definitions(NASTY, ((NASTY,) * 2,)),
    ]
    bodies = [formatted("latex", style, n_cells, parameters=["*"]) for n_cells in (2, 50)]
    source = (
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n"
        "\\usepackage[a4paper,margin=2.5cm]{geometry}\n\\usepackage{booktabs,longtable}\n\\begin{document}\n"
        + "\n".join([*bodies, to_latex(blocks)])
    )
    (tmp_path / "page.tex").write_text(source + "\n\\end{document}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    if style == "simstudy":  # the default fits on the page, but for the made-up strings
        wide = re.findall(r"Overfull .hbox \((\d+)", done.stdout)
        assert len(wide) <= 3, wide


@pytest.mark.parametrize("style", list(STYLES))
def test_markdown_tables_are_rectangular(style: str) -> None:
    for n_cells in (2, 20):
        run: list[int] = []
        for line in [*formatted("markdown", style, n_cells).splitlines(), ""]:
            if line.startswith("|"):
                run.append(len(re.findall(r"(?<!\\)\|", line)))
            else:
                assert len(set(run)) <= 1
                run = []
    assert r"\*s\*" in to_markdown([Paragraph(NASTY)])


def test_no_format_lets_markup_through() -> None:
    table = TextTable(("<b>", "n"), (("<script>", "1"),), title="a < b & c")
    text = to_html([Heading("<h1>", 1), table, Paragraph("1 < 2"), Definitions("<", (("<i>", "&"),))], "<t>")
    assert not {"script", "b", "i", "t"} & {tag for tag, _ in Page(text).tags}
    assert "a &lt; b &amp; c" in text


def test_csv_of_the_default_style_is_the_long_table() -> None:
    performance, _ = study()
    everything = pd.read_csv(io.StringIO(formatted("csv")), keep_default_na=False, na_values={"value": [""]})
    assert len(everything) == len(performance)
    np.testing.assert_array_equal(everything["value"], performance["value"])  # every digit
    some = pd.read_csv(io.StringIO(formatted("csv", parameters=["bb"], cells=[1], measures=["*bias"])))
    assert set(some["parameter"]) == {"bb"}
    assert set(some["cell"]) == {1}
    assert set(some["measure"]) == {name for name in MEASURES if name.endswith("bias")}


def test_simsum_has_rsimsums_statistics_and_units() -> None:
    table = pd.read_csv(io.StringIO(formatted("csv", "simsum")))
    assert table.columns.tolist() == [*FACTORS, "cell", "parameter", "method", "se_kind", "stat", "est", "mcse"]
    names = [
        "nsim",
        "thetamean",
        "bias",
        "rbias",
        "empse",
        "mse",
        "relprec",
        "modelse",
        "relerror",
        "cover",
        "becover",
        "power",
    ]
    assert list(dict.fromkeys(table["stat"])) == names
    mine = table.query("cell == 0 and parameter == 'bb' and method == 'latent' and se_kind == 'expected'")
    found, ours = mine.set_index("stat")["est"], casewise(0, "latent")
    assert found["nsim"] == 53
    assert found["rbias"] == pytest.approx(ours["relative_bias"])
    assert found["relerror"] == pytest.approx(100 * (ours["model_se"] / ours["empirical_se"] - 1))
    assert found["relprec"] == pytest.approx(100 * ours["relative_precision"])
    assert found["mse"] == pytest.approx(ours["rmse"] ** 2)
    first = table.query("method == 'plain' and stat == 'relprec'")  # the reference has no gain over itself
    assert (first["est"] == 0).all()
    assert "Reference method: plain" in formatted("text", "simsum")


def test_simdesign_has_a_column_a_statistic_and_method() -> None:
    table = pd.read_csv(io.StringIO(formatted("csv", "simdesign")))
    columns = [name for name in table.columns if "." in name]
    statistics = dict.fromkeys(name.split(".")[0] for name in columns)
    assert list(statistics) == ["bias", "RMSE", "RSE", "ECR", "EDR"]
    row, ours = table.query("cell == 1 and parameter == 'bb'").iloc[0], casewise(1, "plain", "robust")
    assert row["RSE.plain (robust)"] == pytest.approx(ours["mean_se"] / ours["empirical_se"])
    assert row["ECR.plain (robust)"] == pytest.approx(ours["coverage"])
    assert row["EDR.plain (robust)"] == pytest.approx(ours["rejection"])
    text = formatted("text", "simdesign", parameters=["bb"])
    assert "RSE: mean(SE)/sd(est)" in text
    assert all(name in text for name in METHODS)


def test_mplus_frame_has_mplus_headings() -> None:
    table = pd.read_csv(io.StringIO(formatted("csv", "mplus")))
    assert table.columns.tolist()[-7:] == [
        *("Population", "Average", "Std. Dev.", "S.E. Average", "M.S.E.", "95% Cover", "% Sig Coeff")
    ]
    assert set(table["Completed"]) == {0, 51, 52, 53, 60} - {51}


def test_chosen_measures_have_their_errors() -> None:
    text = formatted("text", measures=["rmse", "miss_*"], parameters=["bb"])
    header = next(line for line in text.splitlines() if line.startswith("Method"))
    assert re.split(r"\s{2,}", header) == ["Method", "SE", "RMSE (MCSE)", "Miss below (MCSE)", "Miss above (MCSE)", "n"]
    text = formatted("text", measures=["*_difference"], parameters=["bb"])
    assert "ref: plain, the reference method" in text
    row = next(line for line in text.splitlines() if line.startswith("plain"))
    assert re.split(r"\s{2,}", row) == ["plain", "expected", "60"]  # nothing differs from itself
    many = formatted("text", n_cells=20, measures=["mad_se"], parameters=["bb"])
    assert "bb (between): MAD SE" in many
    assert "convergence" in formatted("text", measures=["convergence"]).lower()


def test_what_failures_could_change_stands_beside_the_numbers() -> None:
    text = formatted("text", parameters=["bb"], cells=[0])
    lines = text.splitlines()
    at = next(place for place, line in enumerate(lines) if "own and common replicates" in line)
    row = re.split(r"\s{2,}", next(line for line in lines[at:] if line.startswith("latent")))
    performance = study()[0]
    expected = [
        performance.query(
            "cell == 0 and estimator == 'latent' and se_kind == 'expected' and parameter == 'bb' and basis == @basis "
            "and measure == 'coverage'"
        )["value"].iloc[0]
        for basis in ("casewise", "common", "lower_bound", "upper_bound")
    ]
    assert row[4:8] == [f"{value:.3f}" for value in expected]
    assert row[-2:] == ["53", "53"]
    clean = format_performance(*study(failing=False), "text", **ABOUT)
    assert "own and common replicates" not in clean


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measures": ["rmsee"]}, r"measures: there is no 'rmsee' \(did you mean 'rmse'\?\)"),
        ({"measures": ["rmse"], "style": "mplus"}, "the style 'mplus' has its own"),
        ({"style": "simsim"}, r"did you mean 'simsum'\?\); allowed: simstudy, mplus, simdesign, simsum"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SimstudyError, match=message):
        formatted("text", **options)  # type: ignore[arg-type]
    with pytest.raises(SimstudyError, match=r"format: there is no 'latx' \(did you mean 'latex'\?\)"):
        formatted("latx")


def test_effects_of_factors_as_a_table() -> None:
    from simstudy.performance import factor_effects

    effects = factor_effects(study(8)[0], parameters=["bb"], measures=["bias", "coverage", *measure_names("pair")[:1]])
    lines = [line.text for line in to_lines(effect_blocks(effects, title="demo"), 160)]
    assert "bb: eta squared of Bias" in lines
    header = next(line for line in lines if line.startswith("Term"))
    assert re.split(r"\s{2,}", header) == ["Term", "df", "plain", "latent", "by chance"]  # bias has one kind of SE
    row = re.split(r"\s{2,}", next(line for line in lines if line.startswith("n_clusters ")))
    value = effects.query("measure == 'bias' and estimator == 'plain' and term == 'n_clusters'")["eta_squared"].iloc[0]
    assert row[2] == f"{value:.3f}"
    assert any("sums of squares of type II" in line for line in lines)
