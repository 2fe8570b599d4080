# SPDX-License-Identifier: Apache-2.0
"""What every page of a report is made of: one HTML file, its style inside, nothing fetched, no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from facepipe.escape import for_html


def whole_page(title: str, body: str, style: str = "") -> str:
    """A page that stands alone.

    Args:
        title: in words; it is escaped here.
        body: HTML, whose texts are escaped already.
        style: CSS of this page beside what all have.
    """
    return _PAGE.format(title=for_html(title), style=_STYLE + style, body=body)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which are escaped here; of a `head` of empty texts there is none."""
    top = "".join(f"<th>{for_html(name)}</th>" for name in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{for_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """A row of (name, value), the values large; both are escaped here."""
    each = "".join(f'<div class="card"><b>{for_html(value)}</b>{for_html(name)}</div>' for name, value in figures)
    return f'<div class="cards">{each}</div>'


def details(title: str, content: str) -> str:
    """HTML that is folded under a title until it is asked for; the title is escaped here."""
    return f"<details><summary>{for_html(title)}</summary>{content}</details>"


# The policy forbids everything but what lies in the page, should a name in it ever be read as markup.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
_STYLE = """
* { --ink: #1c2430; --faint: #55606f; --paper: #fff; --card: #f2f5f9; --line: #d9dee6; --mark: #1f6fb4;
  --warn: #fdeccf; }
@media (prefers-color-scheme: dark) {
  * { --ink: #e3e8ef; --faint: #a3adba; --paper: #14181e; --card: #222933; --line: #39424e; --mark: #6cb2ee;
    --warn: #4a3a17; }
}
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color-scheme: light dark; color: var(--ink);
  background: var(--paper); margin: 2rem auto; max-width: 1180px; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.cards { display: flex; gap: .8rem; flex-wrap: wrap; margin: 1rem 0; }
.card { background: var(--card); border-radius: 8px; padding: .6rem 1rem; color: var(--faint); }
.card b { display: block; font-size: 1.35rem; color: var(--ink); }
.warning { background: var(--warn); border-left: 4px solid #d98b12; padding: .5rem .8rem; }
.plots { display: flex; gap: 1rem; flex-wrap: wrap; }
.plots img { width: 560px; max-width: 100%; }
.pairs { display: flex; flex-wrap: wrap; gap: .9rem; }
.pair { border: 1px solid var(--line); border-radius: 8px; padding: .6rem; display: grid;
  grid-template-columns: auto auto; gap: .2rem .8rem; }
.pair p { grid-column: 1 / 3; margin: 0; color: var(--faint); font-size: .85rem; }
figure { margin: 0; }
figure img { vertical-align: top; margin-right: 3px; border-radius: 3px; }
figcaption { font-size: .75rem; color: var(--faint); max-width: 265px; overflow-wrap: anywhere; }
.gone { width: 150px; min-height: 60px; background: var(--card); color: var(--faint); font-size: .75rem;
  padding: .4rem; }
table { border-collapse: collapse; font-size: .85rem; margin: .4rem 0; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }
.bar { width: 420px; }
.bar i { display: block; height: .9rem; background: var(--mark); border-radius: 2px; margin-top: .2rem; }
details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--mark); }
@media print { details { display: block; } .pair { break-inside: avoid; } }
"""
