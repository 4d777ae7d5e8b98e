"""The page: its tabs and one polling timer. The lab owns all state; a browser tab owns none."""

from __future__ import annotations

from . import gradio_import  # noqa: F401  isort: skip: before any module imports gradio itself

import functools

import gradio as gr
from starlette.routing import Route

from ..lab import Lab
from ..text.markdown import plain
from . import agent_tools, api
from .as_python import AsPython
from .browser_state import Memory
from .charts import PLOTLY_JS
from .compare.tab import CompareTab
from .context import PRIVATE, QUIET
from .data.tab import DataTab
from .evaluate.tab import EvaluateTab
from .events import open_tab_on_click
from .experiments.tab import ExperimentsTab
from .form import Form
from .format.tab import FormatTab
from .layout import polling, session, sign_in
from .layout.blocks import PageBlocks
from .layout.busy_notice import BusyNotice
from .layout.exhibit_link import ExhibitLink
from .layout.polling import IdleFlag, hide_progress_on
from .layout.session import build as build_session_panel
from .layout.status_bar import Announcer, StatusBar
from .links.making import LinkMaker
from .links.strip import LessonStrip
from .path.notices import Notices
from .path.panel import PathPanel
from .room.routes import RoomRoutes
from .run_page.page import run_page, write_run_page
from .run_picker import RunPicker
from .runs.tab import RunsTab
from .theme import CSS, MEND, THEME
from .train.tab import TrainTab

__all__ = ["CSS", "THEME", "build_ui", "room_routes"]

FORGETS = (
    "**This Space has no storage: runs and uploads vanish when it restarts.** Download what you want to keep: "
    "*Runs*, click its row, *Export adapter*."
)


def build_ui(lab: Lab) -> gr.Blocks:
    """Build the whole page for one lab."""
    gr.set_static_paths([PLOTLY_JS])
    return _Page(lab).build()


def room_routes(lab: Lab) -> list[Route]:
    """The room's pages and endpoints, for the server of the page."""
    return RoomRoutes(lab, functools.partial(run_page, lab.run_pages)).routes


class _Page:
    """The page while it is built: above the tabs, the tabs, then what connects them."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.form = Form()
        self.login = sign_in.button()

    def build(self) -> gr.Blocks:
        """Build it in the order in which it reads, which is that of the Tab key too."""
        with PageBlocks(
            title="Instruction-Tuning Lab",
            analytics_enabled=False,
            fill_width=True,
            # gradio's copies of uploads and exports expire when the lab's own do.
            delete_cache=(3600, 3600 * self.lab.housekeeping.keep_hours),
        ) as page:
            self.memory = Memory(self.lab.data_dir)
            # Registered before all other change listeners: they run one after the other, and some call the lab.
            self.form.when_complete(self._remember)
            self.as_python = AsPython(self.form, scripts=self.lab.scripts, access=self.lab.access)
            self._build_head()
            self._build_tabs()
            self._build_buttons()
            if self.login:
                sign_in.build(page, self.login)
            self._connect(page)
            page.load(None, None, None, js=MEND, **PRIVATE)
            api.expose(self.lab)
            agent_tools.expose(self.lab)
            hide_progress_on(page, self.memory.token)
        return page

    def _build_head(self) -> None:
        lab = self.lab
        with gr.Row(elem_id="head"):
            gr.Markdown("# Instruction-Tuning Lab\nTeach a small model to follow instructions", elem_id="title")
            self.status_bar = StatusBar(
                uploads=lab.uploads,
                runs=lab.runs,
                training=lab.training,
                default_model=lab.default_model,
                access=lab.access,
            )
            self.beside_title = gr.Row(elem_id="head-buttons")
        self.lesson = LessonStrip(rooms=lab.rooms, configs=lab.configs, access=lab.access)
        notices = Notices(lab.datasets, lab.tokenizers, lab.runs, lab.evaluations)
        self.path = PathPanel(self.memory, lab.data_dir, notices=notices, configs=lab.configs, access=lab.access)
        if lab.notice:
            gr.Markdown(plain(lab.notice), elem_id="notice", elem_classes="note")
        if lab.ephemeral_storage:
            gr.Markdown(FORGETS, elem_id="forgets", elem_classes="note")
        self.exhibit = ExhibitLink(configs=lab.configs, runs=lab.runs, answerers=lab.answerers, access=lab.access)
        self.busy_notice = BusyNotice(training=lab.training, access=lab.access)
        self.announcer = Announcer(runs=lab.runs, training=lab.training, access=lab.access)
        self.idle_flag = IdleFlag(training=lab.training, access=lab.access)

    def _build_tabs(self) -> None:
        with gr.Tabs(elem_id="tabs") as self.tabs:
            with gr.Tab("Data", id="Data") as tab:
                self.data = self._data(tab)
            with gr.Tab("Format", id="Format") as tab:
                self.formatting = self._format(tab)
            with gr.Tab("Train", id="Train") as tab:
                self.train = self._train(tab)
            with gr.Tab("Compare", id="Compare"):
                self.compare = self._compare()
            with gr.Tab("Evaluate", id="Evaluate"):
                self.evaluate = self._evaluate()
            with gr.Tab("Runs", id="Runs") as tab:
                self.runs = self._runs()
                self.shown_run = self.train.panel.shown_run
                self.fill_events = self.runs.wire(
                    self.form,
                    self.shown_run,
                    self.compare.run,
                    self.evaluate.run,
                    self.train.continued.parent,
                    self.tabs,
                    tab,
                )
            with gr.Tab("Experiments", id="Experiments"):
                self.experiments = self._experiments()

    def _build_buttons(self) -> None:
        """The buttons beside the title, and those below each tab that lead to the next."""
        replay = self.train.panel.replay
        with self.beside_title:
            replay_button = replay.offer(self.tabs)
            self.train.offer(self.tabs)
            self.path.offer()
        self.as_python.offer()
        self.busy_notice.offer(replay, self.tabs, replay_button)
        next_buttons = {
            "Format": self.data.following,
            "Train": self.formatting.following,
            "Compare": self.train.following,
            "Evaluate": self.compare.following,
            "Runs": self.evaluate.following,
        }
        for name, button in next_buttons.items():
            open_tab_on_click(button, self.tabs, name)

    def _connect(self, page: gr.Blocks) -> None:
        """What goes beyond one tab. Listeners of one event run in the order in which they stand here."""
        lab, form, memory, tabs, shown_run = self.lab, self.form, self.memory, self.tabs, self.shown_run
        LinkMaker(form, memory, self.train.presets.radio, configs=lab.configs, access=lab.access)
        reset = build_session_panel(lab.access, form, memory)
        form.complete()
        self.lesson.connect(form, tabs)
        choices = RunPicker(
            shown_run, self.compare.run, self.evaluate.run, runs=lab.runs, answerers=lab.answerers, access=lab.access
        )
        self.status_bar.follow(form, shown_run)
        self.announcer.follow(shown_run)
        self.exhibit.connect(form, shown_run, self.formatting)
        loaded = session.welcome(
            page,
            form,
            memory,
            shown_run,
            self.exhibit,
            self.lesson,
            self.train.continued,
            runs=lab.runs,
            access=lab.access,
        )
        self.exhibit.follow(loaded, tabs, self.compare.views)
        self._poll(choices)
        self.compare.follow_link(loaded, tabs, shown_run, choices.seen)
        self.data.refresh_after(loaded.then)
        self.train.open_to(loaded)
        # At once, not at the first poll.
        panel = self.train.panel
        for event in (loaded.then, shown_run.change):
            event(panel.follow, panel.inputs, panel.outputs, queue=False, **QUIET)
        presets, fill_events = self.train.presets, (*self.fill_events, *self.experiments.fill_events)
        for event in (loaded, *fill_events):
            presets.settle_after(event)
        self.path.wire(page, form, loaded)
        self.lesson.hold_after(*(event.then for event in (loaded, reset, *presets.filled, *fill_events)))
        self.path.forget_after(presets.radio.input, *(event.then for event in fill_events))

    def _remember(self) -> None:
        continued = self.train.continued
        self.memory.follow(self.form, continued.remembered, continued.changes)

    def _poll(self, choices: RunPicker) -> None:
        """Feed every panel that shows what changes by itself from the page's one timer."""
        lab, runs = self.lab, self.runs
        polled: list[polling.PolledPanel] = [self.status_bar, self.busy_notice, self.announcer, self.idle_flag]
        polled += [
            choices,
            self.train.panel,
            self.evaluate.panel,
            runs.panel,
            runs.details,
            runs.push,
            runs.job,
            runs.bin,
        ]
        polled += [self.path, self.lesson, *self.experiments.polled]
        drawn = lab.default_model.page_is_drawn
        polling.feed(self.memory, polled, runs=lab.runs, training=lab.training, access=lab.access, drawn=drawn)

    def _data(self, tab: gr.Tab) -> DataTab:
        return DataTab(
            self.form,
            self.as_python,
            self.memory,
            tab,
            configs=self.lab.configs,
            uploads=self.lab.uploads,
            datasets=self.lab.datasets,
            housekeeping=self.lab.housekeeping,
            access=self.lab.access,
        )

    def _format(self, tab: gr.Tab) -> FormatTab:
        return FormatTab(
            self.form,
            self.as_python,
            self.memory,
            tab,
            configs=self.lab.configs,
            tokenizers=self.lab.tokenizers,
            datasets=self.lab.datasets,
            estimates=self.lab.estimates,
            access=self.lab.access,
        )

    def _train(self, tab: gr.Tab) -> TrainTab:
        return TrainTab(
            self.form,
            self.as_python,
            tab,
            self.idle_flag.now,
            self.lesson,
            uploads=self.lab.uploads,
            datasets=self.lab.datasets,
            runs=self.lab.runs,
            training=self.lab.training,
            evaluations=self.lab.evaluations,
            estimates=self.lab.estimates,
            transfers=self.lab.transfers,
            devices=self.lab.devices,
            access=self.lab.access,
        )

    def _compare(self) -> CompareTab:
        return CompareTab(
            self.form,
            self.as_python,
            self.tabs,
            runs=self.lab.runs,
            answerers=self.lab.answerers,
            inference=self.lab.inference,
            evaluations=self.lab.evaluations,
            access=self.lab.access,
        )

    def _evaluate(self) -> EvaluateTab:
        return EvaluateTab(
            self.form,
            self.as_python,
            self.tabs,
            runs=self.lab.runs,
            evaluations=self.lab.evaluations,
            transfers=self.lab.transfers,
            devices=self.lab.devices,
            access=self.lab.access,
        )

    def _runs(self) -> RunsTab:
        return RunsTab(
            configs=self.lab.configs,
            runs=self.lab.runs,
            training=self.lab.training,
            answerers=self.lab.answerers,
            transfers=self.lab.transfers,
            push=self.lab.push,
            hub_jobs=self.lab.hub_jobs,
            disk=self.lab.disk,
            access=self.lab.access,
            write_page=functools.partial(write_run_page, self.lab.run_pages),
        )

    def _experiments(self) -> ExperimentsTab:
        return ExperimentsTab(
            self.form,
            self.tabs,
            configs=self.lab.configs,
            runs=self.lab.runs,
            training=self.lab.training,
            access=self.lab.access,
        )
