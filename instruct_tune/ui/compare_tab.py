"""Compare: one instruction, the expected answer, base and tuned side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..lab import Lab
from ..settings import RunConfig
from . import view
from .edge import said

HELD_OUT, TYPED = "Held-out row", "My own instruction"


def build(lab: Lab, run: gr.Dropdown) -> gr.Button:
    """The tab's contents below the choice of the run; returns the button that leads to the next tab."""
    with gr.Row():
        source = gr.Radio([HELD_OUT, TYPED], value=HELD_OUT, label="Ask", elem_id="compare-source")
        number = gr.Number(1, label="Held-out row", precision=0, minimum=1, elem_id="compare-row")
    with gr.Row():
        instruction = gr.Textbox(label="Instruction", min_width=320, lines=3, elem_id="compare-instruction")
        input_text = gr.Textbox(label="Input (optional)", min_width=320, lines=3, elem_id="compare-input")
    with gr.Accordion("Decoding", open=False), gr.Row():
        way = gr.Radio(["greedy", "beams", "sampling"], value="greedy", label="Decoding", elem_id="compare-way")
        longest = gr.Slider(8, 512, 96, step=8, label="Longest answer in tokens")
        beams = gr.Slider(2, 8, 5, step=1, label="Beams", info="For beams; with early stopping")
        temperature = gr.Slider(0.1, 2, 0.8, step=0.1, label="Temperature", info="For sampling")
        top_p = gr.Slider(0.1, 1, 0.95, step=0.05, label="Top-p", info="For sampling")
        seed = gr.Number(42, label="Seed", precision=0, info="For sampling")
    with gr.Row():
        ask = gr.Button("Compare", variant="primary", elem_id="compare-ask", scale=4)
        stop = gr.Button("Stop", elem_id="compare-stop", scale=1)
    state = gr.Markdown("Choose a row or type an instruction, then press **Compare**.", elem_id="compare-state")
    expected = gr.Textbox(
        label="Expected answer",
        lines=4,
        max_lines=12,
        interactive=False,
        elem_classes="mono",
        elem_id="compare-expected",
    )
    with gr.Row():
        base, tuned = (
            gr.Textbox(
                label=who,
                min_width=320,
                lines=10,
                max_lines=24,
                interactive=False,
                buttons=["copy"],
                elem_classes=["mono", f"{who.lower()}-answer"],
                elem_id=f"compare-{who.lower()}",
            )
            for who in ("Base", "Tuned")
        )
    following = gr.Button("Next: Evaluate", elem_id="compare-next", size="sm", elem_classes="next")

    @said
    def row(run_id: str | None, source: str, number: float | None) -> list[Any]:
        if source == TYPED or not run_id:
            return [gr.skip(), gr.skip(), "" if source == TYPED else gr.skip()]
        example = lab.held_out_row(RunConfig.from_dict(lab.store.get(run_id).config), int(number or 1) - 1)
        return [example.instruction, example.input, example.output]

    def settings(way: str, longest: int, beams: int, temperature: float, top_p: float, seed: float) -> dict[str, Any]:
        chosen: dict[str, Any] = {"max_new_tokens": longest, "max_length": None, "num_beams": 1, "do_sample": False}
        if way == "beams":
            chosen |= {"num_beams": beams, "early_stopping": True}
        elif way == "sampling":
            chosen |= {"do_sample": True, "temperature": temperature, "top_p": top_p, "seed": int(seed or 0)}
        return chosen

    @said
    def answer(run_id: str | None, instruction: str, input_text: str, *decoding: Any) -> Iterator[list[Any]]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return
        yield ["", "", "Waiting for the model…"]
        texts: dict[str, Any] = {}
        for texts in lab.compare(run_id, instruction, input_text or "", settings(*decoding)):
            said_now = view.plain(texts["message"]) if texts.get("message") and not texts["base"] else "Answering…"
            yield [texts["base"], texts["tuned"], said_now]
        yield [texts["base"], texts["tuned"], _ending(texts)]

    row_inputs, row_outputs = [run, source, number], [instruction, input_text, expected]
    for trigger in (run.change, source.change, number.change):
        trigger(row, row_inputs, row_outputs, api_visibility="private", show_progress="hidden")
    asked = ask.click(
        answer,
        [run, instruction, input_text, way, longest, beams, temperature, top_p, seed],
        [base, tuned, state],
        api_visibility="private",
        concurrency_limit=4,
        show_progress="minimal",
    )
    stop.click(lambda: "Stopped.", None, state, cancels=[asked], api_visibility="private")
    return following


def _ending(texts: dict[str, Any]) -> str:
    def how(who: str) -> str:
        ended = "ended by itself" if texts[f"{who}_ended"] else "hit the token limit"
        return f"{who}: {texts[f'{who}_tokens']} tokens, {ended}"

    return f"{how('base').capitalize()}. {how('tuned').capitalize()}."
