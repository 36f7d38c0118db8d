"""A page of HTML that needs nothing beside itself: text, tables, and pictures in the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22262b; max-width: 1180px; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.6em; margin-bottom: 0.2em }
h2 { font-size: 1.15em; margin: 2em 0 0.5em; border-bottom: 1px solid #e1e4e8; padding-bottom: 0.2em }
table { border-collapse: collapse; font-size: 0.93em }
th, td { text-align: right; padding: 0.15em 1.2em 0.15em 0; border-bottom: 1px solid #f0f1f3; font-variant-numeric: tabular-nums }
th { color: #6b7178; font-weight: 600 }
th:first-child, td:first-child { text-align: left }
table.facts td { text-align: left }
table.facts td:first-child { color: #6b7178 }
img { max-width: 100%; height: auto; display: block; margin: 0.5em 0 }
figure { margin: 0 0 1em } figcaption { color: #6b7178; font-size: 0.9em }
pre { background: #f6f7f9; padding: 0.8em 1em; overflow-x: auto; font-size: 0.85em; line-height: 1.4 }
summary { cursor: pointer; color: #2b6cb0 }
p.note { color: #6b7178 }
"""


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole page.

    Args:
        title: Its title, as text.
        sections: Heading (as text; empty for none) and body (as HTML) of each section.
    """
    parts = [f"<h2>{escape(heading)}</h2>\n{body}" if heading else body for heading, body in sections]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, facts: bool = False) -> str:
    """A table of texts; with `facts` names and values, both to the left."""
    head = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in header)}</tr>\n" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    opening = '<table class="facts">' if facts else "<table>"
    return f"{opening}\n{head}{body}</table>"


def picture(png: bytes, caption: str, *, width_px: int | None = None) -> str:
    """A picture in the page, with what it shows below."""
    data = base64.b64encode(png).decode("ascii")
    width = "" if width_px is None else f' width="{width_px}"'
    text = escape(caption)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"{width}><figcaption>{text}</figcaption></figure>'


def folded(summary: str, text: str) -> str:
    """Plain text that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>\n<pre>{escape(text)}</pre></details>"


def note(text: str) -> str:
    """A remark."""
    return f'<p class="note">{escape(text)}</p>'
