// gradio keeps the progress of an event's inputs beside that of its outputs, and with each request searches the whole
// page for every component whose progress it ever kept. Added as one item, the inputs are no component, and left out.
for (const event of window.gradio_config.dependencies) event.inputs[Symbol.isConcatSpreadable] = false;
