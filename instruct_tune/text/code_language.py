"""Guess the language of a snippet, for highlighting. The page presents it as a guess."""

from __future__ import annotations

import itertools
import re

# Patterns of each language that the page can highlight, one point per match (at most three per pattern).
# Matches are counted, not parsed, because an unfinished or truncated answer needs a guess too.
_SIGNS = {
    "python": (
        r"^[ \t]*def \w+\([^{]*$",
        r"^[ \t]*(?:for|if|elif|while|with|class|try|else|except)\b[^{;]*:\s*$",
        r"^(?:import [\w.]+(?: as \w+)?|from [\w.]+ import .+)\s*$",
        r"\bprint\(|\blen\(|\brange\(|\bself\.|\bNone\b|\bTrue\b|\bFalse\b|\blambda\b[^=]*:",
        r"^[ \t]*return [^;{]*[^;{\s]\s*$",
        r"\[.+ for \w+ in .+\]",
    ),
    "javascript": (
        r"\bfunction\s*\w*\s*\([^)]*\)\s*\{",
        r"\b(?:const|let|var)\s+\w+\s*=",
        r"=>\s*[{(\w]|===|!==",
        r"\bconsole\.log\(|\bdocument\.|\bwindow\.|\brequire\(|\bmodule\.exports\b",
    ),
    "html": (
        r"<!DOCTYPE html|</?(?:html|head|body)\b",
        r"</?(?:div|p|h[1-6]|table|tr|td|ul|li|form|input|span|a|title|img)\b[^>]*>",
    ),
    "css": (
        r"^[ \t]*(?!(?:class|public|struct|else|do|try)\b)[.#]?[\w-]+(?:[ ,>:.#]+[\w-]+)*\s*\{\s*$",
        r"^[ \t]*[a-z-]+\s*:\s*[^;{}()]+;\s*$",
        r"^@media\b",
    ),
    "sql": (
        r"\bSELECT\b[\s\S]+\bFROM\b",
        r"\bINSERT INTO\b|\bUPDATE \w+ SET\b|\bDELETE FROM\b|\bCREATE (?:TABLE|DATABASE|INDEX)\b|\bALTER TABLE\b",
        r"\b(?:WHERE|GROUP BY|ORDER BY|(?:INNER |LEFT |RIGHT )?JOIN|VARCHAR|PRIMARY KEY)\b",
    ),
    "shell": (
        r"\A#!.*\b(?:ba|z)?sh\b",
        r"^[ \t]*(?:\$ |sudo |echo |cd |ls\b|grep |mkdir |chmod |curl |git |pip install |npm )",
        r"^[ \t]*(?:fi|done|esac)\s*$|\bthen\s*$|^[ \t]*do\s*$|\$\{?\w+\}?\b.*\|",
    ),
    "cpp": (
        r"^#include\s*[<\"]",
        r"\bstd::|\bcout\b|\bcin\b|\busing namespace\b|\bvector<",
        r"\b(?:int|void|double|char|float|bool)\s+\*?\w+\s*\([^)]*\)\s*\{",
        r"\bprintf\(\"|\bmain\s*\(",
        # The page cannot highlight Java and C#; C++ is the nearest.
        r"\b(?:public|private|protected)\s+(?:static|class|void|int|String)\b|\bSystem\.out\.",
    ),
    "json": (r"\A\s*[\[{]\s*[\"{][\s\S]*\"\s*:[\s\S]*[\]}]\s*\Z",),
    "r": (r"\w+\s*<-\s*\S", r"\blibrary\(|\bdata\.frame\(|%>%"),
    "yaml": (r"\A---\s*$", r"^\w[\w-]*:\s*$\n^\s+(?:- )?\w[\w-]*:"),
    "dockerfile": (r"\AFROM \S+\s*$", r"^(?:RUN|CMD|COPY|ENTRYPOINT|WORKDIR|EXPOSE) "),
}
_COMPILED = {name: tuple(re.compile(sign, re.MULTILINE) for sign in signs) for name, signs in _SIGNS.items()}
NAMES = tuple(_SIGNS)
_FENCE = re.compile(r"^```[^\n`]*\n(.*?)(?:^```|\Z)", re.MULTILINE | re.DOTALL)
"""Whatever names the language, as in ``c++``, ``{python}`` or ``python title=a.py``: else the closing fence is taken
for the opening one."""
_SQL_BEGINS = ("select", "insert", "update", "delete", "create", "alter")
READ = 4000
"""Characters that are examined: enough for a guess, and it bounds the time for a long text."""


def guess(text: str) -> str | None:
    """The language of ``text`` by its name in ``gr.Code``, or None if no pattern matches.

    Prose, and languages that cannot be highlighted, give None. Example: ``def f(x):`` is ``python``.
    """
    text = unfenced(text)[:READ]
    # SQL may be lower case; prose that begins with such a word has a capital.
    for_sql = text.upper() if text.lstrip().split(" ", 1)[0] in _SQL_BEGINS else text
    points = {name: _points(signs, for_sql if name == "sql" else text) for name, signs in _COMPILED.items()}
    best = max(points, key=lambda name: points[name])
    return best if points[best] else None


def _points(signs: tuple[re.Pattern[str], ...], text: str) -> int:
    return sum(sum(1 for _ in itertools.islice(sign.finditer(text), 3)) for sign in signs)


def unfenced(text: str) -> str:
    """The content of the first Markdown code fence; without a fence, ``text`` itself."""
    fence = _FENCE.search(text)
    return fence[1] if fence else text
