/* global element, props, watch, make */
const place = element.querySelector('.histograms');
const draw = () => {
  const charts = (props.value && props.value.charts) || [];
  place.replaceChildren(
    ...charts.map(chart => {
      const figure = make('figure', 'histogram');
      const plot = make('div', 'plot'),
        bars = make('div', 'bars'),
        axis = make('div', 'axis');
      plot.setAttribute('role', 'img');
      plot.setAttribute('aria-label', `${chart.title}: ${chart.description}`);
      chart.bars.forEach(bar => {
        const box = make('div', 'bin');
        const filled = make('div', 'filled');
        filled.style.height = `${bar.height}%`;
        box.title = bar.description;
        box.append(filled);
        bars.append(box);
      });
      plot.append(bars);
      if (chart.limit !== null) {
        const line = make('div', 'limit');
        line.style.left = `${chart.limit}%`;
        const words = make('span', chart.limit > 55 ? 'left' : 'right', chart.limit_label);
        line.append(words);
        plot.append(line);
      }
      chart.ticks.forEach(tick => axis.append(make('span', '', tick)));
      figure.append(make('figcaption', '', chart.title), plot, axis, make('div', 'description', chart.description));
      return figure;
    }),
  );
};
watch('value', draw);
draw();
