"""The two panes of a tab: on the left what a person chooses, on the right what it does."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class Workbench:
    """The columns of a tab, to be filled with ``with``.

    ``choose``: controls, in a pane that scrolls by itself. ``act``: the primary button below them, always in sight.
    ``show``: the result, beside both; below them on a narrow screen.
    """

    choose: gr.Column
    act: gr.Column
    show: gr.Column


def workbench(name: str) -> Workbench:
    """Add the panes of the tab ``name``. ``static/page.css`` gives them their places."""
    with gr.Row(elem_classes="workbench", elem_id=f"{name}-workbench", equal_height=False):
        with gr.Column(elem_classes="left", min_width=0, scale=0):
            choose = gr.Column(elem_classes="choose", min_width=0)
            act = gr.Column(elem_classes="act", min_width=0)
        show = gr.Column(elem_classes="show", min_width=0)
    return Workbench(choose, act, show)
