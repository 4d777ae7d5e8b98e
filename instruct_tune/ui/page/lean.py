"""Gradio's Blocks, where an output that is skipped costs nothing, and neither does progress that nobody is shown."""

from __future__ import annotations

import copy
from typing import Any

import gradio as gr
from gradio.blocks import Block

SKIP = gr.skip()


def spare(page: gr.Blocks, on: Block) -> None:
    """Let events that show no progress tell it to ``on`` alone, which hides it too.

    A browser keeps the progress of every component that was ever an output, and with each request,
    such as a poll, twice looks for each of them in the whole page: that was two thirds of what a
    page that is merely open cost its visitor.
    """
    for event in page.fns.values():
        if event.show_progress == "hidden" and event.outputs:
            event.show_progress_on = [on]


class LeanBlocks(gr.Blocks):
    """Answers what ``gr.Blocks`` answers, without the work for outputs that stay as they are.

    For every ``gr.skip()`` gradio makes the component anew, with its configuration. The page's poll
    has some sixty outputs and skips nearly all of them for every viewer at every second: that was
    three quarters of what a viewer cost.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """``predictions`` as the browser gets them; ``{"__type__": "update"}`` where nothing changes."""
        if (
            not isinstance(predictions, list | tuple)
            or len(predictions) != len(block_fn.outputs)
            or len(predictions) < 2
        ):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = [at for at, given in enumerate(predictions) if not _skipped(given)]
        # A handler of its own kind with fewer outputs; gradio takes a single one without a list.
        fewer = copy.copy(block_fn)
        fewer.outputs = [block_fn.outputs[at] for at in changed]
        given = [predictions[at] for at in changed]
        told = await super().postprocess_data(fewer, given[0] if len(given) == 1 else given, state) if changed else []
        answer: list[Any] = [None if block.stateful else dict(SKIP) for block in block_fn.outputs]
        for at, each in zip(changed, told, strict=True):
            answer[at] = each
        return answer


def _skipped(given: Any) -> bool:
    return isinstance(given, dict) and given == SKIP
