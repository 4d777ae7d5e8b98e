"""The table of runs, the actions for the chosen one, and the trash of deleted runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...errors import NotFoundError
from ...services.access import Access
from ...services.answerers import Answerers
from ...services.runs import Runs
from ...services.training import Training
from ...services.types import RunSummary
from ...store.disk_usage import DiskUse
from ...store.run import LIVE
from ...text.markdown import plain
from ..context import QUIET, viewer
from ..run_text import run_sentence
from . import text

CHOOSE, READING = "Click a row to choose a run.", "Reading the runs…"
ACTIONS = {
    "open": "Show in Train",
    "compare": "Compare",
    "evaluate": "Evaluate",
    "clone": "Use its settings",
    "further": "Train further",
    "resume": "Resume",
    "export": "Export adapter",
    "merged": "Export merged model",
    "gguf": "GGUF for llama.cpp",
    "page": "As one page",
    "embed": "Embed in a page",
    "delete": "Delete",
}
IN_SIGHT = ("open", "compare")
"""The actions below the left pane, the first of them its primary one; the others stand in groups inside it."""


class RunsPanel:
    """The table of runs, and the actions for the chosen one; updated by the page's timer."""

    def __init__(self, *, runs: Runs, training: Training, answerers: Answerers, disk: DiskUse, access: Access):
        self.runs, self.training, self.answerers, self.disk, self.access = runs, training, answerers, disk, access
        self.seen, self.chosen, self.page = gr.State(None), gr.State(None), gr.State(0)
        self.buttons: dict[str, gr.Button] = {}

    def controls(self) -> None:
        """Add the controls that find a run."""
        self.search = gr.Textbox(
            label="Search",
            info="Words of the name, tags, notes, state, model, data or id",
            elem_id="runs-search",
        )
        with gr.Row(elem_classes="pairs-of"):
            self.filter = gr.Dropdown(list(text.SHOWS), value=text.ALL_RUNS, label="Show", elem_id="runs-show")
            self.sort = gr.Dropdown(list(text.SORTS), value="Newest first", label="Sort", elem_id="runs-sort")

    def action(self, name: str) -> None:
        """Add the button of one of ``ACTIONS``."""
        in_sight = name in IN_SIGHT
        self.buttons[name] = gr.Button(
            ACTIONS[name],
            variant="primary" if name == IN_SIGHT[0] else "secondary",
            size="lg" if in_sight else "sm",
            elem_id=f"runs-{name}",
            min_width=0,
            interactive=False,
        )

    def listing(self) -> None:
        """Add the table, its pages, and the line on the chosen run."""
        self.table = gr.Dataframe(
            headers=text.HEADERS,
            column_widths=text.WIDTHS,
            interactive=False,
            show_label=False,
            max_height=270,
            buttons=[],
            elem_id="runs-table",
        )
        with gr.Row(elem_classes="pager"):
            self.back = gr.Button("Previous page", size="sm", scale=0, min_width=140, elem_id="runs-back")
            self.count = gr.Markdown("", elem_id="runs-count")
            self.on = gr.Button("Next page", size="sm", scale=0, min_width=140, elem_id="runs-on")
        self.details = gr.Markdown(READING, elem_id="runs-details")

    @property
    def inputs(self) -> list[Any]:
        return [self.chosen, self.search, self.filter, self.sort, self.page, self.seen]

    @property
    def outputs(self) -> list[Any]:
        buttons = (self.buttons[name] for name in ACTIONS)
        fed = [self.table, self.count, self.details, self.back, self.on, *buttons]
        return [self.seen, self.page, *fed]

    def show(self, chosen: str | None, search: str, filtered: str, sort: str, number: int, seen: Any) -> list[Any]:
        """Changes since ``seen``: computes nothing while the history's version is the same, sends nothing unchanged."""
        user = viewer(self.access)
        request = [self.runs.version(), user.host, chosen, search, filtered, sort, number]
        if seen and request == seen[0]:
            return [gr.skip()] * len(self.outputs)
        values = self._values(chosen, str(search or ""), str(filtered), str(sort), number)
        before = seen[1] if seen else [None] * len(values)
        changed = [now if now != then else gr.skip() for now, then in zip(values, before, strict=True)]
        page, table, count, details, back, on, *able = changed
        buttons = [value if _skipped(value) else gr.Button(interactive=value) for value in (back, on, *able)]
        return [[request, values], page, table, count, details, *buttons]

    def _values(self, chosen: str | None, search: str, filtered: str, sort: str, number: int) -> list[Any]:
        """Page number, table, count, details, and whether each button is enabled."""
        user = viewer(self.access)
        listed = self.runs.summaries(user)
        evaluations = self.runs.last_evaluations(user)
        # A run writes its last files before it ends, an evaluation its answers before it is stored.
        answers = {run_id: evaluation.get("predictions") for run_id, evaluation in evaluations.items()}
        sizes = self.disk.of({run["id"]: (run["status"], run["ended"], answers.get(run["id"])) for run in listed})
        runs = text.with_numbers(listed, evaluations, sizes)
        page = text.page_of(runs, search, sort, number, filtered)
        held_out = {
            run["id"]: (self.runs.last_metric(user, run["id"], "probe") or {}).get("probe_loss") for run in page.runs
        }
        row = next((run for run in listed if run["id"] == chosen), None)
        return [
            page.number,
            text.table(page, held_out, chosen),
            text.sentence(page, len(listed), sum(sizes.values()), search),
            self._details(row, sizes) if row else CHOOSE,
            page.number > 0,
            page.number < page.pages - 1,
            *self._enabled(row),
        ]

    def _details(self, run: RunSummary, sizes: Mapping[str, int]) -> str:
        status = run_sentence(self.training.status(viewer(self.access), run["id"]))
        return f"**{plain(run['name'])}** · {status}\n\n{text.run_summary(run, sizes.get(run['id'], 0))}"

    def wire(self) -> None:
        """Connect paging, search and sorting; their effect shows at once, not at the timer's next poll."""
        self.back.click(lambda number: max(number - 1, 0), self.page, self.page, **QUIET)
        self.on.click(lambda number: number + 1, self.page, self.page, **QUIET)
        events = [self.search.input, self.filter.input, self.sort.input]
        gr.on(events, lambda: 0, None, self.page, **QUIET)
        changed = [self.chosen.change, self.page.change, *events]
        now: dict[str, Any] = {"queue": False, "trigger_mode": "always_last", **QUIET}
        gr.on(changed, self.show, self.inputs, self.outputs, **now)

    def _enabled(self, run: RunSummary | None) -> list[bool]:
        """Whether each of ``ACTIONS`` applies to the chosen run."""
        if run is None:
            return [False] * len(ACTIONS)
        live = run["status"] in LIVE
        can_answer = self.answerers.has_adapter(viewer(self.access), run["id"])
        can = {
            "compare": can_answer,
            "evaluate": can_answer,
            "further": not live and self.runs.has_saved_adapter(viewer(self.access), run["id"]),
            "resume": not live and run["status"] != "finished",
            "export": self.runs.has_saved_adapter(viewer(self.access), run["id"]),
            "merged": self.runs.has_saved_adapter(viewer(self.access), run["id"]),
            "gguf": self.runs.has_saved_adapter(viewer(self.access), run["id"]),
            "delete": not live,
        }
        return [can.get(name, True) for name in ACTIONS]


def _skipped(value: Any) -> bool:
    return not isinstance(value, bool)


EMPTY_TRASH = "No run was deleted within the last hour. A deleted one stands here that long, and can be restored."
KEPT = "Deleted for good when its time is over."


class BinPanel:
    """The contents of the inner tab "Trash": the deleted runs, how long they can be restored, and the button."""

    def __init__(self, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        self.seen = gr.State([])

    def contents(self) -> None:
        """Add the list of deleted runs and the button."""
        self.words = gr.Markdown(EMPTY_TRASH, elem_id="runs-trash-words")
        with gr.Row(visible=False, elem_id="runs-bin", elem_classes="foot") as self.row:
            self.run = gr.Dropdown(
                [],
                label="Run",
                elem_id="runs-binned",
                scale=3,
                min_width=240,
            )
            self.restore = gr.Button("Restore", elem_id="runs-undo", scale=1, min_width=130)

    @property
    def inputs(self) -> list[Any]:
        # Without the dropdown: gradio would reject the whole poll for a value that is no longer among its choices.
        return [self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.words, self.row, self.run]

    def show(self, seen: list[Any]) -> list[Any]:
        """Changes since ``seen``; the run deleted last is chosen when the bin holds other runs than before."""
        now = bin_choices(self.runs.trashed(viewer(self.access)))
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        ids, seen_ids = ([run_id for _, run_id in choices] for choices in (now, seen))
        same = gr.Dropdown(choices=now)
        run = same if ids == seen_ids else gr.Dropdown(choices=now, value=next(iter(ids), None))
        return [now, KEPT if now else EMPTY_TRASH, gr.Row(visible=bool(now)), run]

    def wire(self, chosen: gr.State) -> Any:
        """Connect the button; returns the event of a restore, whose run becomes the table's ``chosen`` one."""
        restored = self.restore.click(self._restore, self.run, chosen, **QUIET)
        # The effect shows at once, not at the timer's next poll.
        chosen.change(self.show, self.inputs, self.outputs, queue=False, **QUIET)
        return restored

    def _restore(self, run_id: str | None) -> str:
        if not run_id:
            raise NotFoundError("Choose which of the deleted runs to restore.")
        self.runs.restore(viewer(self.access), run_id)
        return run_id


def bin_choices(binned: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown; the label has the time left to restore the run."""
    return [(f"{run['name']} · {_minutes(run['seconds_left'])} left", run["id"]) for run in binned]


def _minutes(seconds: float) -> str:
    return f"{int(seconds / 60)} min" if seconds >= 60 else "less than a minute"
