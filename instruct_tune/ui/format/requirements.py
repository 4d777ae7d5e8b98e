"""What the tab's views are computed from: the rows of the dataset and the tokenizer of the model."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import gradio as gr

from ...config.run_config import RunConfig
from ...config.viewer import Viewer
from ...services.datasets import Datasets
from ...services.tokenizers import Tokenizers
from ..fetch_progress import FetchProgressPanel, Updates
from .text import no_rows_sentence, no_tokenizer_sentence


@dataclass(frozen=True)
class Missing:
    """What has to be downloaded before anything can be shown. ``sentence``: Markdown.

    ``tokenizer``: it is the model's tokenizer, which this tab downloads; rows are loaded on the Data tab.
    """

    sentence: str
    tokenizer: bool


@dataclass(frozen=True)
class Requirements:
    """Finds out what is missing, and loads what is on this machine."""

    tokenizers: Tokenizers
    datasets: Datasets

    def missing(self, viewer: Viewer, config: RunConfig) -> Missing | None:
        """What ``config`` needs from the network; None where all is on this machine."""
        if not self.datasets.is_at_hand(viewer, config):
            return Missing(no_rows_sentence(config.data.source), False)
        if self.tokenizers.needs_download(config.model):
            return Missing(no_tokenizer_sentence(config.model), True)
        return None

    def load(
        self, viewer: Viewer, config: RunConfig, request: gr.Request, progress: FetchProgressPanel
    ) -> Generator[Updates, None, bool]:
        """Load rows and tokenizer into memory, with updates of ``progress``; False if the visitor cancelled, or does
        something else."""
        if not self.datasets.has_rows(viewer, config):
            loaded, _ = yield from progress.follow(
                request, lambda loading: self.datasets.start_loading(viewer, config, loading)
            )
            if not loaded:
                return False
        if self.tokenizers.has(config.model):
            return True
        loaded, _ = yield from progress.follow(
            request, lambda loading: self.datasets.start_fetching(viewer, config, loading)
        )
        return bool(loaded)
