// Colours and fonts come from the page, so that the chart suits both themes.
const node = element.querySelector('.loss-plot');
const draw = () => {
  const figure = props.value;
  if (!figure || !figure.data) {
    return;
  }
  if (!window.Plotly) {
    window.labLoadPlotly?.();
    setTimeout(draw, 100);
    return;
  }
  node.querySelector('.loss-empty')?.remove();
  node.setAttribute('aria-label', figure.description);
  const style = getComputedStyle(document.body);
  const ink = style.getPropertyValue('--body-text-color') || '#333';
  const line = style.getPropertyValue('--border-color-primary') || '#ccc';
  const axis = {color: ink, gridcolor: line, zerolinecolor: line};
  const layout = {
    ...figure.layout,
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    font: {color: ink},
    autosize: true,
    xaxis: {...figure.layout.xaxis, ...axis},
    yaxis: {...figure.layout.yaxis, ...axis},
  };
  // Zoom is kept while the run and the type of axis are the same; a double click resets it.
  for (const name of ['xaxis', 'yaxis']) {
    const before = node.layout?.[name];
    const same = node.layout?.uirevision === layout.uirevision && (before?.type ?? 'linear') === layout[name].type;
    if (same && before.autorange === false) {
      layout[name].range = before.range;
      layout[name].autorange = false;
    }
  }
  // The bar of buttons covers the legend, whose lines are to be clicked; dragging zooms, a double click resets.
  const config = {responsive: true, displaylogo: false, doubleClick: 'autosize', displayModeBar: false};
  Plotly.react(node, figure.data, layout, config);
  element.dispatchEvent(new Event('drawn', {bubbles: true}));
};
watch('value', draw);
draw();
