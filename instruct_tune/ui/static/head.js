// Run as gradio's configuration is read, before its application is.
{
  const {components, dependencies, layout} = window.gradio_config;
  const unobserved = Object.create(Array.prototype);
  const hide = (list, name, value) => Object.defineProperty(list, name, {value});
  for (const event of dependencies) {
    // gradio keeps the progress of an event's inputs beside that of its outputs, and with each request searches the
    // whole page for every component whose progress it ever kept. Added as one item, they are none, and left out.
    event.inputs[Symbol.isConcatSpreadable] = false;
    // With each request it also searches for every input, to forget what gradio's validators said of it: there are none.
    hide(event.inputs, 'forEach', function (work) {
      if (!`${work}`.includes('validation_error')) Array.prototype.forEach.call(this, work);
    });
    // It goes through all events' targets for each component, as the page is built. Svelte observes what is read of a
    // plain array, which made that a tenth of the page's start; targets never change.
    Object.setPrototypeOf(event.targets, unobserved);
    // And it searches for each target, to give it the event's arguments; few events have any.
    if (!event.event_specific_args?.length) hide(event.targets, 'map', () => []);
  }
  // A search goes through the page from its beginning. What is not drawn, but asked for most often, stands there.
  const states = new Set(components.filter(({type}) => type.endsWith('state')).map(({id}) => id));
  const found = [];
  const withoutStates = node => {
    if (!node.children) return;
    node.children = node.children.filter(child => !(states.has(child.id) && found.push(child)));
    node.children.forEach(withoutStates);
  };
  withoutStates(layout);
  layout.children.unshift(...found);
}
