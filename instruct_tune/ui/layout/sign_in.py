"""The button under the tabs with which a visitor signs in with Hugging Face, on a Space that has OAuth."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...config.environment import offers_sign_in
from ...pretrained.hub_token import EXPIRED
from ...text.markdown import plain
from ...util.device import on_zerogpu
from ..account import name_of, token_of
from ..context import PRIVATE, QUIET

SIGN_IN, SIGN_OUT = "Sign in with Hugging Face", "Sign out"
PURPOSE = "Optional: your own private data and models, and your runs on every browser. Your token is never stored."
GPU_TIME = "More GPU minutes a day, too."

# gradio's routes. On the Hub's own page the Space is a frame, which may not scroll by itself.
_GO = """label => {
    const route = label === SIGN_IN ? '/login/huggingface' : '/logout';
    window.parent?.postMessage({type: 'SET_SCROLLING', enabled: true}, '*');
    window.location.assign(`${route}?_target_url=${encodeURIComponent('/' + window.location.search)}`);
    return [];
}""".replace("SIGN_IN", repr(SIGN_IN))


def button() -> gr.LoginButton | None:
    """The button, to be made before the page; None where nobody can sign in.

    Inside the page gradio would add events of its own, which scripts would see as endpoints.
    """
    if not offers_sign_in():
        return None
    return gr.LoginButton(SIGN_IN, variant="secondary", size="sm", elem_id="sign-in-button", min_width=230, scale=0)


def build(page: gr.Blocks, login: gr.LoginButton) -> None:
    """Show the button, and beside it what it is for or who has signed in."""
    with gr.Row(elem_id="sign-in"):
        login.render()
        text = gr.Markdown(PURPOSE, elem_id="sign-in-text")
    login.click(None, login, None, js=_GO, **PRIVATE)
    page.load(_state, None, [login, text], queue=False, **QUIET)


def _state(request: gr.Request) -> tuple[Any, str]:
    """The button's label and the text beside it, for who opened the page."""
    name = name_of(request)
    if name is not None:
        return gr.update(
            value=SIGN_OUT
        ), f"Signed in as **{plain(name, 60)}**: your private data and models can be used."
    purpose = f"{PURPOSE} {GPU_TIME}" if on_zerogpu() else PURPOSE
    return gr.update(value=SIGN_IN), EXPIRED if token_of(request) else purpose
