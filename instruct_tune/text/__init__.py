"""What a text is, without a model: code, scripts, Markdown, patterns, limits."""
