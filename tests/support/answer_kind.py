"""The language of an answer of the bundled dataset, by rules.

``instruct_tune.text.code_language`` guesses for highlighting and expects cut and growing answers; this decides how an
answer is checked, so every answer gets exactly one kind.
"""

from __future__ import annotations

import re

# Patterns of the kinds. A broken answer has to be classified too, so these match its surface and parse nothing.
_SQL = re.compile(
    r"(?:SELECT|WITH|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|BEGIN|PRAGMA|EXPLAIN|ANALYZE|VACUUM)\b[\s\S]*;\s*\Z"
)
_PYTHON = re.compile(
    r"^(?:import [\w.]+(?: as \w+)?(?:, \w+)*|from [\w.]+ import [\w(, *]+|(?:async )?def \w+.*|@[\w.]+(?:\(.*\))?"
    r"|class \w+(?:\(.*\))?(?:\[.*\])?:|(?:with|for|while|if|try|match)\b[^;{]*:"
    r"|print\(.*|[\w, .*\[\]\"']+ [-+*/]?= [^;]*"
    r"|(?:assert|raise|del) .*|[\w.]+\(.*\))$",
    re.MULTILINE,
)
_SURELY_PYTHON = re.compile(
    r"^(?:async )?def \w+\(.*:$|^from [\w.]+ import \w|^class \w+[^{]*:$|^import \w+$", re.MULTILINE
)
_JAVASCRIPT = re.compile(
    r"^(?:export |async |await |static )*(?:(?:const|let|var) [\w$\[{]|function\b|class \w+[^:]*\{)"
    r"|^import .* from [\"'].*;$"
    r"|^[\w$.\[\]()#\"', =]+(?:\(.*|=> .*|= .*)[;{]$|^(?:for|if|while|return|throw)\b.*[;{]$",
    re.MULTILINE,
)
_CSS = re.compile(
    r"\A(?:/\*.*\*/\s*)?(?:@[\w-]+[^;{]*|[^;{}()=]+(?:[(\[][^{}]*[)\]][^;{}]*)?)\{\s*(?:[^{}]*:[^{}]*;|[^{}]*\{)"
)
_NO_CSS = re.compile(r"(?:export |async )*(?:function|class|const|for|if|try|import)\b|\w+\(\)")
_COMMANDS = frozenset(
    """
    alias awk base64 bash bc case cat cd chmod chown cmake cmp column comm command cp crontab curl cut date dd
    declare df diff diff3 dig dirname disown docker du echo env exec exit export expr fc ffmpeg file find flock
    fmt fold for free getent gh git grep gunzip gzip head history hostname iconv id if ifconfig install ip jobs
    join journalctl jq kill killall ln local ls lsblk lsof make mapfile md5sum mkdir mktemp mv nc nice nl node
    nohup npm nproc npx numfmt od openssl pandoc passwd paste patch perl pgrep pidof ping pip pkill popd
    printenv printf ps pushd pwd python python3 read readonly realpath rename rev rm rmdir rsync scp sed select
    seq set setfacl sha256sum shellcheck shopt shuf sleep sort source split sqlite3 ss ssh ssh-keygen stat
    strace su sudo sum systemctl systemd-run tac tail tar tee test time timeout tmux touch tput tr traceroute
    trap trash tree truncate ulimit umask uname uniq unset until unzip uptime useradd usermod wait watch wc wget
    which while whoami xargs xxd yes zcat zgrep zip
    """.split()  # noqa: SIM905
)


def kind(answer: str) -> str:
    """The kind of an answer: python, javascript, html, css, sql, json, shell or words."""
    if answer.startswith("<"):
        return "html"
    if re.match(r"\{\s*[\"}]|\[\s*(?:[\"{\[]|-?\d|true|null)[\s\S]*\]\Z", answer):
        return "words" if re.match(r"\[[^\n]*\] \[", answer) else "json"
    if _SQL.match(answer):
        return "sql"
    if answer.startswith("#!"):
        return "shell"
    if re.search(r"\A\S+(?: \S+){3}[^\n]*\S[.?!]\Z", answer):
        return "words"
    if _SURELY_PYTHON.search(answer):
        return "python"
    if _CSS.match(answer) and not _NO_CSS.match(answer):
        return "css"
    if _is_shell(answer):
        return "shell"
    if _JAVASCRIPT.search(answer):
        return "javascript"
    if _PYTHON.search(answer):
        return "python"
    return "words"


def _is_shell(answer: str) -> bool:
    line = next((line for line in answer.splitlines() if not line.startswith("#")), "")
    if re.match(r"(?:for|while|until|if|case) ", line):
        return bool(re.search(r"^\s*(?:done|fi|esac)\b|; *(?:done|fi)\b", answer, re.MULTILINE))
    if re.match(r"[\w-]+\(\) [{(]$|\[\[? [^,]* \]|(?:[-\d*/,]+ ){4}[\w/~]", line):
        return True
    word = re.sub(r"\A(?:! |[A-Z_a-z]+=(?:\$\(.*?\)|\S*) )*", "", line).split(" ")[0]
    if re.match(r"\w+=(?:\$|[^ =]*$|\()|\./|\w+\+=\(", line) and not re.search(r"\w \(|;$", line):
        return True
    return word in _COMMANDS and not re.match(r"\w+ (?:=|in .*:$|.*:$)|(?:if|for|while|set|exit|time) ?\(", line)
