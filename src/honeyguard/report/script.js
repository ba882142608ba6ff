(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const resolved = (json) => JSON.parse(json.replace(/var\((--[a-z0-9-]+)\)/g, (_, name) => colour(name)));
  const plots = [...document.querySelectorAll("script[data-plot]")].map((json) => [json.dataset.plot, json.textContent]);
  const draw = () => {
    for (const [place, json] of plots) {
      const { data, layout } = resolved(json);
      document.getElementById(place).style.height = `${layout.height}px`;
      Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
    }
  };
  dark.addEventListener("change", draw);
  draw();
})();
