"""With skipped outputs the answer equals gradio's own."""

import asyncio

import gradio as gr
import pytest

from instruct_tune.ui.layout.polling import SkippingBlocks, hide_progress_on

GIVEN = {
    "nothing new": lambda: [gr.skip(), gr.skip(), gr.skip()],
    "one value": lambda: [gr.skip(), "new", gr.skip()],
    "a component": lambda: [gr.skip(), gr.skip(), gr.Dropdown(choices=["a", "b"], value="b")],
    "a state": lambda: [{"seen": 1}, gr.skip(), gr.skip()],
    "all": lambda: [3, "text", gr.Dropdown(visible=False)],
    "one skip for all": lambda: gr.skip(),
}


def answers(kind: type[gr.Blocks], function) -> list:
    with kind() as page:
        outputs = [gr.State(None), gr.Textbox(), gr.Dropdown(["a"])]
        gr.Button().click(function, None, outputs)
    (handler,) = page.fns.values()
    state = gr.blocks.SessionState(page)

    async def ask() -> list:
        first = await page.process_api(handler, [], state=state)
        again = await page.process_api(handler, [], state=state)
        return [first["data"], again["data"], state[outputs[0]._id]]

    return asyncio.run(ask())


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_it_answers_as_gradio_does(given):
    assert answers(SkippingBlocks, given) == answers(gr.Blocks, given)


def test_a_wrong_number_of_outputs_is_told():
    with pytest.raises(ValueError, match="enough output values"):
        answers(SkippingBlocks, lambda: [gr.skip()])


def test_progress_that_is_not_shown_is_told_to_one_component():
    with gr.Blocks() as page:
        line, first, second = gr.Markdown(), gr.Textbox(), gr.Textbox()
        button = gr.Button()
        button.click(lambda: ["", ""], None, [first, second], show_progress="hidden")
        button.click(lambda: ["", ""], None, [first, second])
        button.click(lambda: None, None, None, show_progress="hidden")
        hide_progress_on(page, line)
    progress = [(each["show_progress"], each["show_progress_on"]) for each in page.get_config_file()["dependencies"]]
    assert progress == [("hidden", [line._id]), ("full", None), ("hidden", None)]
