"""Blocks as a piece of HTML that stands in a notebook: nothing from outside, and no rule for what stands around it."""

from __future__ import annotations

from collections.abc import Sequence

from simstudy.report.tables.blocks import Block
from simstudy.report.tables.render import html_block

STYLE = """.simstudy { font: 14px/1.4 system-ui, sans-serif; max-width: 100%; }
.simstudy h1, .simstudy h2, .simstudy h3 { font-size: 1em; font-weight: 600; margin: .8em 0 .2em; padding: 0; }
.simstudy h1 { font-size: 1.1em; margin-top: 0; }
.simstudy p { margin: .3em 0; }
.simstudy p.quiet, .simstudy dl { opacity: .75; font-size: 13px; }
.simstudy .scroll { overflow-x: auto; }
.simstudy table { border-collapse: collapse; border: 0; margin: .4em 0 .8em; font-size: 13px;
  font-variant-numeric: tabular-nums; }
.simstudy caption { text-align: left; font-weight: 600; padding: .2em 0; color: inherit; caption-side: top; }
.simstudy tr, .simstudy tbody tr:nth-child(odd), .simstudy tbody tr:hover { background: none; }
.simstudy th, .simstudy td { padding: .12em .6em; text-align: right; font-weight: normal; white-space: nowrap;
  border: 0; max-width: none; vertical-align: baseline; }
.simstudy thead th { border-bottom: 1px solid currentColor; font-weight: 600; }
.simstudy thead tr:first-child > * { border-top: 2px solid currentColor; }
.simstudy tbody tr:last-child > * { border-bottom: 2px solid currentColor; }
.simstudy .left { text-align: left; }
.simstudy th.group { text-align: center; }
.simstudy dt { font-weight: 600; float: left; clear: left; width: 11em; }
.simstudy dd { margin: 0 0 .2em 11.5em; }
.simstudy figure { margin: 0 0 1em; }
.simstudy figcaption { font-size: 13px; opacity: .75; }
"""


def html_fragment(blocks: Sequence[Block]) -> str:
    """Blocks in one ``<div>`` with its own style; text is escaped."""
    return html_around("\n".join(html_block(block) for block in blocks))


def html_around(body: str) -> str:
    """The ``<div>`` and its style around HTML that is written already."""
    return f'<div class="simstudy"><style>\n{STYLE}</style>\n{body}\n</div>'
