"""Names of runs that look like code, markup or paths, and must be plain text everywhere."""

NAMES = (
    "plain",
    "costs $5",
    "☃ 漢字 😀",
    "$",
    "$$",
    r"$\frac{$",
    r"\$x$",
    r"$\nonsense{$ and $x",
    "{} %s %(x)s",
    "<script>alert(1)</script>",
    "![x](http://evil/x.png)",
    "[x](javascript:alert(1))",
    "../../etc/passwd",
    "a\nb\n---\nbase_model: evil",
)
