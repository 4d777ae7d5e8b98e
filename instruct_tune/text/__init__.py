"""Analysis of plain text without a model: code, scripts, Markdown, regular expressions, limits."""
