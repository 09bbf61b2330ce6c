"""What is cited exists: sections of docs/theory, links of Markdown pages, and files that any text names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from simstudy.methods import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "theory"
FOLDERS = ("simstudy", "tests", "scripts", "designs", "docs", "requirements", ".ci")
TEXT = {"", ".py", ".md", ".toml", ".txt", ".j2", ".css", ".js", ".sh", ".R"}
WRITTEN = {"prereg.md"}
"""Documents that commands write, which examples name."""

CODE = r"[BCDFS]\d{1,2}(?:\.\d)?[abc]?"
SEVERAL = re.compile(rf"\btheory:?[\s#]+({CODE}\b(?:(?:,|;| and|, and)[\s#]+{CODE}\b|-{CODE}\b)*)", re.IGNORECASE)
BARE = re.compile(rf"(?<![\w.&/#]){CODE}(?!\w)")
ABOUT_THEORY = ("tests/theory/", "tests/recovery/")
"""Where a code alone is a citation (docs/theory/README.md)."""
NO_CODES = {"D65"}
PLACE = re.compile(r"docs/theory/([\w-]+\.md)(?:#([\w-]+))?")
ANCHOR = re.compile(r'<a id="([^"]+)"></a>\n#+ (.+)\n')
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"(?<![\w/.<{-])(?:docs|designs|scripts|tests|simstudy|requirements)/[\w./-]*\w")
DOCUMENT = re.compile(r"(?<![\w/.<{*-])[\w./-]+\.md\b")


def texts() -> list[tuple[str, str]]:
    """Path and content of every text file that is kept by hand."""
    files = [path for path in ROOT.glob("*") if path.is_file() and path.suffix in {".md", ".toml"}]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in TEXT]
    files.append(ROOT / "results" / "README.md")
    kept = [path for path in files if "__pycache__" not in path.parts and path != Path(__file__)]
    return [(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in sorted(set(kept))]


TEXTS = texts()
MARKDOWN = [name for name, _ in TEXTS if name.endswith(".md")]


@cache
def sections() -> dict[str, tuple[str, str]]:
    """Page and anchor of each section, by code."""
    found: dict[str, tuple[str, str]] = {}
    for page in sorted(PAGES.glob("*.md")):
        for anchor, heading in ANCHOR.findall(page.read_text(encoding="utf-8")):
            code = heading.split(" ", 1)[0]
            if page.name != "README.md":
                assert code not in found, f"{code} stands on {found[code][0]} and on {page.name}"
                assert anchor == code.lower().replace(".", "-"), f"{page.name}: '{heading}' has the anchor {anchor}"
                found[code] = (page.name, anchor)
    return found


def cited(name: str, text: str) -> set[str]:
    """Codes that a file cites."""
    found = {code for group in SEVERAL.findall(text) for code in re.findall(CODE, group)}
    if name.startswith(ABOUT_THEORY):
        found |= set(BARE.findall(text)) - NO_CODES
    return found


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a Markdown page: those written as such, and those that its headings get."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"></a>', text))


def test_every_citation_has_its_section() -> None:
    missing = {name: sorted(cited(name, text) - set(sections())) for name, text in TEXTS}
    assert not {name: codes for name, codes in missing.items() if codes}
    assert sum(bool(cited(name, text)) for name, text in TEXTS if name.startswith("simstudy/")) > 30  # they are found


def test_the_rule_finds_citations() -> None:
    assert cited("simstudy/a.py", "(Author 1999; theory C1, B10). Theory D1.1-D1.3\n# and theory S6,\n# B5a; B4") == {
        "C1", "B10", "D1.1", "D1.3", "S6", "B5a", "B4",
    }  # fmt: skip
    assert cited("simstudy/a.py", "a theory of everything: B1 is a name here, C3 too") == set()
    assert cited("tests/theory/test_a.py", '"""B8\'s last line (C2), and B3-B4."""') == {"B8", "C2", "B3", "B4"}


def test_places_on_pages_exist() -> None:
    wrong = []
    for name, text in TEXTS:
        for page, anchor in PLACE.findall(text):
            path = PAGES / page
            if not path.is_file() or (anchor and anchor not in anchors(path)):
                wrong.append(f"{name}: {page}#{anchor}")
    assert not wrong


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.find(n).__module__.startswith("simstudy.")])
def test_methods_name_their_sections(name: str) -> None:
    places = registry.find(name).theory
    assert places
    for place in places:
        found = PLACE.fullmatch(place)
        assert found, place
        assert tuple(found.groups()) in set(sections().values()), place


def test_the_index_lists_every_section_and_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[([^\]]+)\]\(([\w-]+\.md)#([\w-]+)\)", index, flags=re.MULTILINE)
    assert {code: (page, anchor) for code, page, anchor in listed} == sections()
    assert len(listed) == len(sections())
    for page in PAGES.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


@pytest.mark.parametrize("name", MARKDOWN)
def test_links_lead_somewhere(name: str) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):  # the web
            continue
        path, _, anchor = target.partition("#")
        page = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert page.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(page), f"{name}: {target}"


def test_files_that_are_named_exist() -> None:
    documents = {*MARKDOWN, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "results").glob("*.md"))}
    missing = []
    for name, text in TEXTS:
        missing += [
            f"{name}: {found}"
            for found in DOCUMENT.findall(text)
            if found not in WRITTEN and not any(f"/{document}".endswith(f"/{found}") for document in documents)
        ]
        if name.endswith(".md"):
            missing += [f"{name}: {found}" for found in FILE.findall(text) if not (ROOT / found).exists()]
        # test data of other projects is the only thing that is read from outside
        missing += [f"{name}: {found}" for found in re.findall(r"\bshared/(?!reference\b)[\w.]+", text)]
    assert not missing


def test_functions_that_pages_name_are_in_their_files() -> None:
    for page in PAGES.glob("*.md"):
        text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
        for path, names in re.findall(r"`(simstudy/[\w/.]+\.py)` \(((?:`\w+`(?:, )?)+)\)", text):
            for name in re.findall(r"`(\w+)`", names):
                assert name in (ROOT / path).read_text(encoding="utf-8"), f"{page.name}: {name} in {path}"
