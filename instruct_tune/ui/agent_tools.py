"""The tools for agents: five endpoints of small typed parameters, offered over MCP where that is installed.

They do what the endpoints of ``api.py`` do, with the ``minute`` preset's settings. gradio shows an agent the docstring,
the ``Args`` (one line each) and the type hints, and hands a result over as text: each tool gives a JSON object as such.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import gradio as gr

from ..config.run_config import DEFAULT_MODEL, RunConfig
from ..config.viewer import Viewer
from ..errors import DataError
from ..lab import Lab
from ..text.plain_text import shortened
from ..util.curves import thin
from .context import viewer

TOOLS = ("preview_data", "show_mask", "train_a_minute", "training_status", "compare_answers")
MAX_PREVIEWED, MAX_TRAINED = 20, 200
"""Rows. Training on 200 of the bundled ones takes one to four minutes on two CPU cores."""
CELL_CHARACTERS, ANSWER_CHARACTERS = 400, 4000
TOKENS_SHOWN = 80
"""On either side of the place where the answer begins."""
CURVE_POINTS = 12


def expose(lab: Lab) -> None:
    """Add the tools to the page that is being built. They are no part of the interface for scripts."""
    tools = Tools(lab)
    for name in TOOLS:
        gr.api(getattr(tools, name), api_name=name, api_visibility="undocumented")


class Tools:
    """A method for each tool, which has its name, its parameters and its docstring."""

    def __init__(self, lab: Lab):
        self._lab = lab

    def _viewer(self) -> Viewer:
        return viewer(self._lab.access)

    def preview_data(self, source: str = "bundled", rows: int = 3, only_without_input: bool = True) -> str:
        """Look at a dataset before training on it: how many rows it has and keeps, and its first training rows.

        Args:
            source: "bundled", "codealpaca-20k", "hub:OWNER/NAME", or, on a machine of one's own, a path to a file.
            rows: How many rows to show, 1 to 20.
            only_without_input: Keep only rows without an input, as the lesson does.

        Returns:
            A JSON object: columns used, counts of rows, what filters kept, licence, and the rows, long texts cut.
        """
        _check_rows(rows, MAX_PREVIEWED)
        caller = self._viewer()
        config = self._lab.datasets.propose_columns(caller, _config(source, MAX_TRAINED, only_without_input))
        summary = self._lab.datasets.preview(caller, config, rows)
        kept = ("source", "licence", "rows_loaded", "ledger", "notes")
        return _json(
            {name: summary[name] for name in kept}
            | {"columns": dataclasses.asdict(config.data.columns)}
            | {"rows_to_train_on": summary["train_rows_before_limit"], "rows_held_out": summary["test_rows"]}
            | {"rows": [{name: _cell(text) for name, text in row.items()} for row in summary["rows"]]}
        )

    def show_mask(
        self,
        instruction: str,
        output: str,
        input: str = "",
        template: Literal["lesson", "alpaca", "chat"] = "lesson",
        model: str = DEFAULT_MODEL,
    ) -> str:
        """Show which tokens of one training row carry loss: those of the answer do, those of the prompt do not.

        Args:
            instruction: What the model is asked to do.
            output: The answer that it is to learn.
            input: Further material for the instruction; may be empty.
            template: The wording of the prompt around instruction and input; "chat" is the model's own.
            model: The Hub id of the base model whose tokenizer is used, OWNER/NAME, or "tiny-random".

        Returns:
            A JSON object: counts, and the tokens around the answer's beginning, as the tokenizer spells them.
        """
        config = _config(model=model, template=template)
        mask = self._lab.datasets.mask(self._viewer(), config, instruction, input, output)
        tokens, begins = mask["tokens"], mask["prompt_length"]
        return _json(
            {
                "tokens": len(tokens),
                "tokens_with_loss": mask["supervised"],
                "answer_tokens_cut_off": mask["truncated"],
                "last_tokens_without_loss": tokens[:begins][-TOKENS_SHOWN:],
                "first_tokens_with_loss": tokens[begins:][:TOKENS_SHOWN],
            }
        )

    def train_a_minute(
        self,
        source: str = "bundled",
        rows: int = 48,
        only_without_input: bool = True,
        model: str = DEFAULT_MODEL,
        name: str = "",
    ) -> str:
        """Start to train a LoRA adapter on a few rows of a dataset, once through; answers before the training ends.

        With the defaults it trains half a minute on two CPU cores. A model or dataset that is not there yet is
        downloaded first, and a run waits for those before it. Follow it with training_status.

        Args:
            source: "bundled", "codealpaca-20k", "hub:OWNER/NAME", or, on a machine of one's own, a path to a file.
            rows: How many rows to train on, 1 to 200; twice as many take about twice as long.
            only_without_input: Train only on rows without an input, as the lesson does.
            model: The Hub id of the base model, OWNER/NAME, or "tiny-random", which learns nothing and is quick.
            name: What the run is called in the history; may be empty.

        Returns:
            A JSON object: run_id, status, and expected_seconds, null where this machine's speed is not known.
        """
        _check_rows(rows, MAX_TRAINED)
        caller = self._viewer()
        config = self._lab.datasets.propose_columns(caller, _config(source, rows, only_without_input, model))
        cost = self._lab.estimates.cost(caller, config, lent=self._lab.devices.lends_gpus)
        run_id = self._lab.training.start(caller, config, name)
        status = self._lab.training.status(caller, run_id)
        seconds = cost["seconds"]["total"] if cost["seconds"] else cost.get("gpu_seconds")
        expected = math.ceil(seconds) if seconds else None
        return _json({"run_id": run_id, "status": status["status"], "expected_seconds": expected})

    def training_status(self, run_id: str) -> str:
        """Tell where a training run stands. A run goes on from queued over running to finished, stopped or failed.

        Args:
            run_id: What train_a_minute gave.

        Returns:
            A JSON object: status, steps, seconds_left, losses by step, and findings: what looks wrong and what to try.
        """
        caller = self._viewer()
        status, metrics = self._lab.training.status(caller, run_id), self._lab.runs.metrics(caller, run_id)
        kept = ("status", "phase", "step", "total_steps", "message")
        return _json(
            {name: status[name] for name in kept}  # type: ignore[literal-required]
            | {
                "place_in_queue": status["place"],
                "seconds_left": _rounded(status["eta_seconds"], 0),
                "training_loss": _curve(metrics, "train", "loss"),
                "held_out_loss": _curve(metrics, "probe", "probe_loss"),
                "findings": [f"{each['sentence']} {each['advice']}" for each in status["findings"]],
            }
        )

    def compare_answers(self, run_id: str, instruction: str, input: str = "") -> str:
        """Let the base model and a trained run answer the same instruction, with the run's generation settings.

        Args:
            run_id: What train_a_minute gave, of a run that has ended.
            instruction: What both are asked to do.
            input: Further material for the instruction; may be empty.

        Returns:
            A JSON object: base and tuned, the two answers.
        """
        *_, answers = self._lab.inference.compare(self._viewer(), run_id, instruction, input)
        return _json({name: shortened(answers[name], ANSWER_CHARACTERS) for name in ("base", "tuned")})


def served_with(page: gr.Blocks) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan for the page's server: its MCP server, where it has one, offers the tools and no other endpoint.

    By itself it offers every documented endpoint, whose ``config`` has no schema that an agent could follow.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        if server := page.mcp_server_obj:
            endpoints = page.get_api_info(all_endpoints=True)["named_endpoints"]
            tools = {f"/{name}": endpoints[f"/{name}"] for name in TOOLS}
            server.api_info = {"named_endpoints": tools, "unnamed_endpoints": {}}
            server.tool_to_endpoint = server.get_tool_to_endpoint()
        yield

    return lifespan


def _config(
    source: str = "bundled",
    rows: int = 48,
    only_without_input: bool = True,
    model: str = DEFAULT_MODEL,
    template: str = "lesson",
) -> RunConfig:
    data: dict[str, Any] = {"source": source, "limit": rows}
    if not only_without_input:
        data["filters"] = []
    return RunConfig.from_dict({"model": model, "data": data, "template": template}, "minute")


def _check_rows(rows: Any, most: int) -> None:
    if not isinstance(rows, int) or isinstance(rows, bool) or not 1 <= rows <= most:
        raise DataError(f"rows must be a whole number from 1 to {most}.")


def _curve(metrics: list[dict[str, Any]], kind: str, value: str) -> list[list[float | None]]:
    """``[step, loss]`` of some steps, the first and the last among them."""
    points = [[each["step"], _rounded(each[value], 3)] for each in metrics if each["kind"] == kind]
    return thin(points, CURVE_POINTS)


def _rounded(number: float | None, digits: int) -> float | None:
    """None for a number that JSON has not, such as the loss of a run that diverged."""
    return None if number is None or not math.isfinite(number) else round(number, digits)


def _cell(text: str) -> str:
    return shortened(text, CELL_CHARACTERS)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
