"""Blocks as plain text, LaTeX, HTML and Markdown: one function a format."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from simstudy.report.tables.blocks import Block, Definitions, Heading, Paragraph
from simstudy.report.tables.text import Line, TextTable, wrapped

LONG_TABLE = 40
"""LaTeX tables with more rows may break across pages."""
MANY_TABLES = 15
"""More LaTeX tables than these stand where they are: LaTeX cannot hold as many floats."""


def to_lines(blocks: Sequence[Block], width: int) -> list[Line]:
    """Plain text of at most `width` characters a line, tables as wide as they are."""
    lines: list[Line] = []
    for before, block in pairwise((None, *blocks)):
        together = isinstance(before, Paragraph) and isinstance(block, Paragraph)
        if before is not None and not together:
            lines.append(Line(""))
        lines += _LINES[type(block)](block, width)
    return lines


def _heading_lines(block: Heading, width: int) -> list[Line]:
    return [Line(block.text, "bold" if block.level == 1 else "bold underline")]


def _paragraph_lines(block: Paragraph, width: int) -> list[Line]:
    return [Line(text, "dim" if block.quiet else "") for text in wrapped(block.text, width)]


def _definition_lines(block: Definitions, width: int) -> list[Line]:
    lines = [Line(block.title)]
    name_width = max((len(term) for term, _ in block.items), default=0) + 2
    for term, meaning in block.items:
        text = f"  {term:<{name_width}}{meaning}"
        lines += [Line(line, "dim") for line in wrapped(text, width, " " * (name_width + 2))]
    return lines


def _table_lines(block: TextTable, width: int) -> list[Line]:
    return [*(Line(text) for text in wrapped(block.title, width) if text), *block.lines()]


_LINES: Mapping[type, Callable[..., list[Line]]] = MappingProxyType(
    {
        Heading: _heading_lines,
        Paragraph: _paragraph_lines,
        Definitions: _definition_lines,
        TextTable: _table_lines,
    }
)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
}
_LATEX_HEAD = """% Needs in the preamble:
% \\usepackage[T1]{fontenc}
% \\usepackage[utf8]{inputenc} % not for LuaLaTeX and XeLaTeX
% \\usepackage{booktabs,longtable}
"""


def latex_escape(text: str) -> str:
    """Text with everything that LaTeX would take for a command made literal; numbers get a real minus sign."""
    if re.fullmatch(r"-[\d.]+(e[+-]?\d+)?%?( \(.*\))?", text):
        return r"$-$" + latex_escape(text[1:])
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(blocks: Sequence[Block]) -> str:
    """Fragment for a manuscript to read in: booktabs tables with captions; headings and remarks are comments."""
    parts = [_LATEX_HEAD]
    many = sum(isinstance(block, TextTable) for block in blocks) > MANY_TABLES
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"% {block.text}\n")
        elif isinstance(block, Paragraph):
            text = f"\\par\\noindent {{\\small {latex_escape(block.text)}}}\n"
            parts.append(f"% {block.text}\n" if block.quiet else text)
        elif isinstance(block, Definitions):
            items = "\n".join(f"\\item[{latex_escape(term)}] {latex_escape(meaning)}" for term, meaning in block.items)
            start = f"\\par\\noindent {{\\small {latex_escape(block.title)}\n\\begin{{description}}\n"
            parts.append(f"{start}{items}\n\\end{{description}}}}\n" if items else "")
        else:
            parts.append(_latex_table(block, floating=not many and len(block.rows) <= LONG_TABLE))
    return "\n".join(parts)


def _latex_table(table: TextTable, floating: bool) -> str:
    columns = "l" * table.left + "r" * (table.n_columns - table.left)
    head = _latex_head(table)
    body = "\n".join(_latex_row(row) for row in table.rows)
    caption = f"\\caption{{{latex_escape(table.caption)}}}" if table.caption else ""
    if not floating:
        caption = f"{caption}\\\\\n" if caption else ""
        return (
            f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{4pt}}\n\\begin{{longtable}}{{@{{}}{columns}@{{}}}}\n{caption}"
            f"\\toprule\n{head}\\endfirsthead\n\\toprule\n{head}\\endhead\n\\bottomrule\n\\endfoot\n{body}\n"
            "\\end{longtable}}\n"
        )
    return (
        f"\\begin{{table}}[htbp]\n\\centering\n{caption}\n\\footnotesize\\setlength{{\\tabcolsep}}{{4pt}}\n"
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n\\toprule\n{head}{body}\n\\bottomrule\n\\end{{tabular}}\n"
        "\\end{table}\n"
    )


def _latex_head(table: TextTable) -> str:
    lines = []
    if table.groups:
        place, rules, cells = 1, [], []
        for heading, span in table.groups:
            cells.append(f"\\multicolumn{{{span}}}{{c}}{{{latex_escape(heading)}}}")
            if heading and span > 1:
                rules.append(f"\\cmidrule(lr){{{place}-{place + span - 1}}}")
            place += span
        lines += [" & ".join(cells) + " \\\\", " ".join(rules)]
    if table.header:
        lines += [_latex_row(table.header), "\\midrule"]
    return "".join(f"{line}\n" for line in lines if line)


def _latex_row(row: Sequence[str]) -> str:
    return " & ".join(latex_escape(cell) for cell in row) + " \\\\"


def to_html(blocks: Sequence[Block], title: str = "") -> str:
    """Whole page that needs nothing from anywhere: captions, header cells with a scope, readable in print."""
    body = "\n".join(html_block(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{HTML_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


HTML_STYLE = """body { font: 15px/1.4 system-ui, sans-serif; color: #111; background: #fff; margin: 1.5rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .15rem .6rem; text-align: right; font-weight: normal; white-space: nowrap; }
thead th { border-bottom: 1px solid #111; font-weight: 600; vertical-align: bottom; }
thead tr:first-child > * { border-top: 2px solid #111; }
tbody tr:last-child > * { border-bottom: 2px solid #111; }
th.left, td.left { text-align: left; }
th.group { text-align: center; }
.scroll { overflow-x: auto; }
p.quiet, dl { color: #444; font-size: 14px; }
dt { font-weight: 600; float: left; clear: left; width: 11rem; }
dd { margin: 0 0 .2rem 11.5rem; }
@media print { .scroll { overflow: visible; } table { page-break-inside: auto; } tr { page-break-inside: avoid; } }
"""


def html_block(block: Block) -> str:
    """One block as HTML, for a page of one's own."""
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        quiet = ' class="quiet"' if block.quiet else ""
        return f"<p{quiet}>{html.escape(block.text)}</p>"
    if isinstance(block, Definitions):
        items = "\n".join(
            f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>" for term, meaning in block.items
        )
        return f"<p>{html.escape(block.title)}</p>\n<dl>\n{items}\n</dl>"
    return html_table(block)


def html_table(table: TextTable, *, sortable: bool = False, prose: Collection[int] = ()) -> str:
    """A table that scrolls sideways where it is too wide, with caption and header cells that have a scope.

    Parameters
    ----------
    table : TextTable
    sortable : bool
        Mark it for a script that sorts.
    prose : collection of int
        Columns of sentences, which may be broken into lines.
    """
    kind = ' class="sortable"' if sortable else ""
    label = f' role="region" aria-label="{html.escape(table.caption)}"' if table.caption else ""
    parts = [f'<div class="scroll" tabindex="0"{label}><table{kind}>']
    if table.caption:
        parts.append(f"<caption>{html.escape(table.caption)}</caption>")
    if table.header:
        parts.append("<thead>")
        if table.groups:
            cells = [
                f'<th scope="colgroup" colspan="{span}" class="group">{html.escape(heading)}</th>'
                if heading
                else f'<td colspan="{span}"></td>'
                for heading, span in table.groups
            ]
            parts.append(f"<tr>{''.join(cells)}</tr>")
        cells = [
            f'<th scope="col"{_aligned(table, place)}>{html.escape(cell)}</th>' if cell else "<td></td>"
            for place, cell in enumerate(table.header)
        ]
        parts.append(f"<tr>{''.join(cells)}</tr></thead>")
    parts.append("<tbody>")
    for row in table.rows:
        cells = [
            f'<th scope="row" class="left">{html.escape(cell)}</th>'
            if place == 0 and cell
            else f"<td{_aligned(table, place, prose)}>{html.escape(cell)}</td>"
            for place, cell in enumerate(row)
        ]
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts.append("</tbody></table></div>")
    return "\n".join(parts)


def _aligned(table: TextTable, place: int, prose: Collection[int] = ()) -> str:
    if place in prose:
        return ' class="prose"'
    return ' class="left"' if place < table.left else ""


def to_markdown(blocks: Sequence[Block]) -> str:
    """Markdown with pipe tables; a heading above several columns goes into each of their headers."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {_markdown_escape(block.text)}")
        elif isinstance(block, Paragraph):
            parts.append(_markdown_escape(block.text))
        elif isinstance(block, Definitions):
            items = [f"- **{_markdown_escape(term)}**: {_markdown_escape(meaning)}" for term, meaning in block.items]
            parts.append("\n".join([_markdown_escape(block.title), "", *items]))
        else:
            parts.append(_markdown_table(block))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: TextTable) -> str:
    above = [heading for heading, span in table.groups for _ in range(span)] or [""] * table.n_columns
    header = [" ".join(filter(None, pair)) for pair in zip(above, table.header or [""] * table.n_columns, strict=True)]
    rule = ["---" if place < table.left else "---:" for place in range(table.n_columns)]
    rows = [[_markdown_escape(cell) for cell in row] for row in (header, *table.rows)]
    lines = [rows[0], rule, *rows[1:]]
    text = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    return f"{_markdown_escape(table.caption)}\n\n{text}" if table.caption else text


def _markdown_escape(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|~#])", r"\\\1", text)
