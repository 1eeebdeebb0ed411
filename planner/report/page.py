"""The bones of a page: one HTML file that needs no other, and holds the document it shows.

Every text given is plain: it is escaped here. What functions return is HTML. Styles are in page.css.
"""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.table import Table

_STYLE = Path(__file__).with_name("page.css")
# Nothing is loaded from anywhere and nothing runs, whatever a name in the document says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_UNIT = re.compile(r"(?<=\d) (?=%|[mun]?s\b)")  # a space between a number and its unit, where no line may end


def page(title: str, verdict: str, context: str, parts: Sequence[str], document: dict[str, Any]) -> str:
    """Return the page: title, verdict, a line of what was asked, ``parts`` of HTML, and ``document`` as JSON."""
    # A JSON string cannot end its element: no "<" is left in it.
    data = json.dumps(document, allow_nan=False).replace("<", "\\u003c")
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE.read_text('utf-8')}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        paragraph(verdict, "verdict"),
        paragraph(context, "soft"),
        *parts,
        "<footer>All numbers, in SI units, are in this file as JSON: the element with the id “document”.</footer>",
        f'<script type="application/json" id="document">{data}</script>',
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def section(title: str, *parts: str) -> str:
    """Return a section under its title."""
    return "\n".join([f"<section>\n<h2>{_text(title)}</h2>", *parts, "</section>"])


def columns(*sections: str) -> str:
    """Return sections side by side where the page is wide enough."""
    return "\n".join(['<div class="columns">', *sections, "</div>"])


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph, nothing for no text; ``kind`` is a class of the style, such as verdict or soft."""
    if not text:
        return ""
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def grid(table: Table, spare: str | None = None) -> str:
    """Return a table of the terminal as HTML, without its title: the first column names the rows.

    A phone does without the column ``spare``.
    """
    kinds = ["left" if column.justify == "left" else "" for column in table.columns]
    kinds = ["spare" if column.header == spare else kind for kind, column in zip(kinds, table.columns, strict=True)]
    kinds = [f' class="{kind}"' if kind else "" for kind in kinds]
    head = [f'<th scope="col"{kind}>{_text(str(c.header))}</th>' for kind, c in zip(kinds, table.columns, strict=True)]
    out = ['<div class="table"><table>', f"<thead><tr>{''.join(head)}</tr></thead>", "<tbody>"]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        first, *cells = (_text(str(cell)) for cell in row)
        rest = [f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds[1:], cells, strict=True)]
        out.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{"".join(rest)}</tr>')
    return "\n".join([*out, "</tbody></table></div>"])


def terms(told: Iterable[tuple[str, str]]) -> str:
    """Return terms, each with its sentence."""
    rows = (f"<dt>{_text(lead.rstrip(':'))}</dt><dd>{_sentence(text)}</dd>" for lead, text in told)
    return "\n".join(["<dl>", *rows, "</dl>"])


def notes(lines: Sequence[str]) -> str:
    """Return warnings as a list; nothing where there are none."""
    if not lines:
        return ""
    rows = (f"<li>{_sentence(line)}</li>" for line in lines)
    return "\n".join(['<ul class="notes">', *rows, "</ul>"])


def _text(text: str) -> str:
    return _UNIT.sub("&nbsp;", escape(text))


def _sentence(text: str) -> str:
    return _text(text[:1].upper() + text[1:])
