"""HTML out of texts: everything from outside is escaped, the lab's own Markdown becomes tags. Pure functions."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_INLINE = re.compile(r"\\(?P<literal>.)|(?P<break><br>)|(?P<strong>\*\*)|(?P<em>\*)|(?P<other>[^\\*<]+|.)", re.DOTALL)
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def text(value: Any) -> str:
    """The value as text inside an element or a quoted attribute. A parser would drop zeros, so they become visible."""
    return html.escape(str(value)).replace("\0", "\ufffd")


def markdown(source: str) -> str:
    """The lab's own Markdown as HTML: paragraphs, lists, bold, italics and ``<br>``. Any other tag is text.

    What comes from outside is in it as ``text.markdown.plain`` escapes it.
    """
    return "".join(_block(block) for block in re.split(r"\n\s*\n", source.strip()) if block)


def _block(block: str) -> str:
    lines = block.split("\n")
    if all(line.startswith("- ") for line in lines):
        return f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in lines)}</ul>"
    return f"<p>{_inline(block)}</p>"


def _inline(source: str) -> str:
    parts: list[str] = []
    opened: list[str] = []
    for found in _INLINE.finditer(source):
        kind = found.lastgroup
        if kind in ("strong", "em"):
            if kind in opened:
                parts += [f"</{opened.pop()}>" for _ in range(len(opened) - opened.index(kind))]
            else:
                opened.append(kind)
                parts.append(f"<{kind}>")
        else:
            parts.append("<br>" if kind == "break" else text(found[kind or "other"]))
    return "".join(parts) + "".join(f"</{kind}>" for kind in reversed(opened))


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", numbers: bool = False) -> str:
    """A table whose first column names the rows. ``numbers``: the other columns are aligned to the right."""
    head = "".join(f'<th scope="col">{text(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    look = ' class="numbers"' if numbers else ""
    return (
        f'<div class="wide" tabindex="0"><table{look}>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def filled(template: str, value: Mapping[str, Any]) -> str:
    """A gradio template with its ``${value.NAME.NAME}`` replaced."""

    def found(match: re.Match[str]) -> str:
        each: Any = value
        for name in match[1].split("."):
            each = each[name]
        return text(each)

    return re.sub(r"\$\{value\.([\w.]+)\}", found, template)


def script_json(value: Any) -> str:
    """JSON for a ``script`` element: nothing in it can end the element, begin a comment or a line."""
    return json.dumps(value, separators=(",", ":")).translate(_UNSAFE)
