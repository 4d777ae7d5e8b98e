// Run as gradio's configuration is read, before its application is.
{
  const unobserved = Object.create(Array.prototype);
  for (const event of window.gradio_config.dependencies) {
    // gradio keeps the progress of an event's inputs beside that of its outputs, and with each request searches the
    // whole page for every component whose progress it ever kept. Added as one item, they are none, and left out.
    event.inputs[Symbol.isConcatSpreadable] = false;
    // It goes through all events' targets for each component, as the page is built. Svelte observes what is read of a
    // plain array, which made that a tenth of the page's start; targets never change.
    Object.setPrototypeOf(event.targets, unobserved);
  }
}
