"""Names that a run may have, and that are only names wherever they stand."""

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
