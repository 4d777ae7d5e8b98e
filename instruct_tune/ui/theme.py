"""The page's look: one theme for light and dark, CSS for what a theme cannot express, and fixes in JavaScript."""

from __future__ import annotations

import gradio as gr

from .charts import PLOTLY_JS
from .scripted_html import static_text

# The system's own fonts: nothing is fetched from a font service.
_FONTS = ("system-ui", "sans-serif")

THEME = gr.themes.Default(
    primary_hue="blue", neutral_hue="slate", font=_FONTS, font_mono=("ui-monospace", "Consolas", "monospace")
).set(
    # Help texts, placeholders and white on blue keep a contrast of 4.5 to 1 (WCAG 2 AA).
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
)

CSS = static_text("workbench.css") + static_text("page.css") + static_text("compare.css")
MEND = static_text("page.js").rstrip().removesuffix(";").replace("PLOTLY", f"gradio_api/file={PLOTLY_JS}")
"""JavaScript to run once the page has loaded."""
