"""The fold that makes a link of the page: its settings, locks, open tab and step of the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...data.sources import is_on_hub
from ...errors import DataError, SettingsError
from ...lesson.links import Link, require_short, settings_over, write_link
from ...lesson.locks import FIXED, HIDDEN
from ...runs.machine_paths import is_path
from ...services.access import Access
from ...services.configurations import Configurations
from ...text.plain_text import shown_name
from ..browser_state import Memory
from ..context import QUIET, viewer
from ..events import setting
from ..exhibit import copyable
from ..form import Form
from .controls import lockable
from .limits import limits_of_link
from .strip import with_tab_and_step

OWN_PROMPTS = "train.own_prompts"


class LinkMaker:
    """The fold under the tabs. ``preset``: the control of the chosen preset."""

    def __init__(self, form: Form, memory: Memory, preset: gr.Radio, *, configs: Configurations, access: Access):
        self._form, self._memory, self._preset = form, memory, preset
        self._configs, self._access = configs, access
        offered = [(label, name) for name, label in lockable(form).items()]
        with gr.Accordion("Link to this page", open=False, elem_id="link"):
            gr.Markdown(
                "The link opens the page as it is now: preset, changed settings, tab, and step of an open path. Your "
                "prompts and uploads are not in it.",
            )
            with gr.Row():
                self._fixed = _settings(offered, "Fixed", "Shown, and not to be changed", "link-fixed")
                self._hidden = _settings(offered, "Hidden", "Fixed, and not shown", "link-hidden")
            self._limited = gr.Textbox(
                label="Ranges and choices",
                info="One a line: a setting's label or name, a colon, and LOW..HIGH or A|B",
                placeholder="Learning rate: 0.0001..0.01\nlora.r: 4|8|16",
                lines=2,
                max_length=4000,
                elem_id="link-limited",
            )
            with gr.Row(elem_classes="buttons"):
                make = gr.Button("Make the link", size="sm", scale=0, min_width=160, elem_id="link-make")
                gr.Button(
                    "Open a room with these settings",
                    size="sm",
                    scale=0,
                    min_width=240,
                    elem_id="link-room",
                    link="room",
                )
            self._address = copyable("Opens this page; a room takes it, too", "link-address")
        form.when_complete(lambda: self._wire(make))

    def _wire(self, make: gr.Button) -> None:
        own = {self._fixed, self._hidden, self._limited, self._preset, self._memory.path}
        made = make.click(self._make, self._form.controls | own, self._address, **QUIET)
        # A link of before would open other settings than those of the page.
        changes = [control.change for control in self._form.controls | own]
        gr.on(changes, None, None, self._address, js=setting(visible=False), **QUIET)
        made.success(None, self._address, self._address, js=with_tab_and_step(), **QUIET)

    def _make(self, values: dict[Any, Any]) -> Any:
        """The query of the address; the browser adds what is before it, and the open tab."""
        config = self._configs.read(viewer(self._access), self._form.read(values))
        locks = {**dict.fromkeys(values[self._fixed] or (), FIXED), **dict.fromkeys(values[self._hidden] or (), HIDDEN)}
        limits = read_lines(values[self._limited] or "", lockable(self._form))
        if both := sorted(set(limits) & set(locks)):
            raise SettingsError([f"{name} is fixed or hidden, and has a range or choices: choose one" for name in both])
        return gr.Code(
            made_link(values[self._preset], config, {**locks, **limits}, values[self._memory.path]), visible=True
        )


def made_link(preset: str, config: RunConfig, locks: Mapping[str, str], path: Any) -> str:
    """The query of a link. ``path``: what the browser kept of the panel Learn.

    Raises DataError for what a link cannot hold, SettingsError for locks with a fault.
    """
    settings = settings_over(preset, config)
    if OWN_PROMPTS not in locks:
        # They are their writer's: a link shows them to everybody.
        settings.pop(OWN_PROMPTS, None)
    if config.data.source != "bundled" and not is_on_hub(config.data.source):
        raise DataError(
            "A file cannot be in a link, which others could not read: choose a dataset of the list or the Hub."
        )
    if is_path(config.model):
        raise DataError(
            "A folder cannot be in a link, which others could not read: choose a model of the list or the Hub."
        )
    kept = path if isinstance(path, Mapping) and path.get("open") else {}
    step = kept.get("step")
    name = str(kept.get("name") or "")
    link = Link(preset, settings, locks, "", name, step + 1 if kept and isinstance(step, int) else 0)
    limits_of_link(link)
    query = write_link(link)
    require_short(query)
    return query


def read_lines(text: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Locks by setting, from lines of ``NAME: LOCK``; a name may be the setting's label. Raises SettingsError."""
    by_label = {label.casefold(): name for name, label in labels.items()}
    locks, problems = {}, []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, lock = line.partition(":")
        name = by_label.get(name.strip().casefold(), name.strip())
        if not colon or not lock.strip():
            problems.append(f"the line {shown_name(line)} must be a setting, a colon, and LOW..HIGH or A|B")
        else:
            locks[name] = lock.strip()
    if problems:
        raise SettingsError(problems)
    return locks


def _settings(offered: Sequence[tuple[str, str]], label: str, info: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(list(offered), value=[], multiselect=True, label=label, info=info, elem_id=elem_id)
