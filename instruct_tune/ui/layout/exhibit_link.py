"""What the address of an exhibit chooses: the run, and a row's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gradio as gr

from ...config.run_config import RunConfig
from ...config.viewer import Viewer
from ...services.access import Access
from ...services.answerers import Answerers
from ...services.configurations import Configurations
from ...services.runs import Runs
from ..context import QUIET, viewer
from ..exhibit import EXHIBITS, NOTE, SELECT
from ..form import Form

UNKNOWN = f"This address names no exhibit: there are {', '.join(EXHIBITS)}. This is the whole lab."
MISSING = "The run of this exhibit is not here for you: it was deleted, is private, or has no adapter."


class LinkedTokens(Protocol):
    """The tab of the X-ray: ``linked`` gives updates of its ``linked_outputs`` for the address's parameters."""

    @property
    def linked_outputs(self) -> list[Any]: ...
    def linked(self, params: Mapping[str, str]) -> dict[Any, Any]: ...


class ExhibitLink:
    """Chooses what the address of an exhibit names: ``run``, and for the X-ray ``row`` and ``fault``, too.

    Compare's own link chooses the question.
    """

    def __init__(self, *, configs: Configurations, runs: Runs, answerers: Answerers, access: Access):
        self._configs, self._runs, self._answerers, self._access = configs, runs, answerers, access
        self.note = gr.Markdown(visible=False, elem_id=NOTE, elem_classes="note")

    def connect(self, form: Form, shown_run: gr.State, tokens: LinkedTokens) -> None:
        """``shown_run``: the run of the curve; ``tokens``: the tab of the X-ray."""
        self._form, self._shown, self._tokens = form, shown_run, tokens
        self.outputs = [self.note, *tokens.linked_outputs]

    def follow(self, arrived: Any, tabs: gr.Tabs, views: gr.Tabs) -> None:
        """Open the exhibit's tab after ``arrived``, which sets ``values``."""
        arrived.then(None, self.note, [tabs, views], js=SELECT, **QUIET)

    def values(self, request: gr.Request) -> dict[Any, Any]:
        """The updates that the address asks for; none without an exhibit."""
        params = dict(request.query_params)
        name = params.get("exhibit")
        if name is None:
            return {}
        if name not in EXHIBITS:
            return {self.note: gr.Markdown(UNKNOWN, visible=True)}
        config = None
        if run_id := params.get("run"):
            config = self._config(viewer(self._access), name, run_id)
            if config is None:
                return {self.note: gr.Markdown(MISSING, visible=True)}
        if name == "curve":
            return {self._shown: run_id} if run_id else {}
        if name != "xray":
            return {}
        return (self._form.fill(config) if config else {}) | self._tokens.linked(params)

    def _config(self, user: Viewer, name: str, run_id: str) -> RunConfig | None:
        """The run's configuration, where ``user`` may see in the exhibit what it takes of the run."""
        if not self._runs.is_visible(user, run_id):
            return None
        config = self._runs.config(user, run_id)
        if name == "xray":
            return config if self._configs.may_use(user, config.data.source) else None
        return config if name == "curve" or self._answerers.has_adapter(user, run_id) else None
