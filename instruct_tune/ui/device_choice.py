"""Where a person's work runs, on a Space that lends GPUs by the second; elsewhere there is nothing to choose."""

from __future__ import annotations

import gradio as gr

from ..services.devices import Devices

GPU, CPU = "gpu", "cpu"


class DeviceChoice:
    """A choice between a lent GPU and this Space's CPU; a hidden value where no GPU is lent.

    ``control`` holds ``GPU`` or ``CPU``.
    """

    def __init__(self, devices: Devices, elem_id: str):
        self.lends_gpus = devices.lends_gpus
        self.control: gr.components.Component = gr.State(GPU)
        if self.lends_gpus:
            self.control = gr.Radio(
                [("GPU minutes", GPU), ("CPU", CPU)],
                value=GPU,
                label="Runs on",
                show_label=False,
                container=False,
                elem_id=elem_id,
            )
