(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const coloured = (value, style) => {
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    const name = typeof value === "string" && value.match(/^var\((--[a-z-]+)\)$/);
    return name ? style.getPropertyValue(name[1]).trim() : value;
  };
  const above = (layout) => {  // on a narrow screen a row's name stands over it
    const { tickvals, ticktext } = layout.yaxis;
    const name = { x: 0, xref: "paper", xanchor: "left", showarrow: false, font: { size: 12 } };
    layout.annotations = tickvals.map((y, place) => ({ ...name, y: y + 0.42, text: ticktext[place] }));
    layout.yaxis.showticklabels = false;
    layout.yaxis.range[1] += 0.3;
    layout.height *= 1.35;
  };
  const draw = (width) => {
    const style = getComputedStyle(document.documentElement);
    for (const place of document.querySelectorAll("[data-figure]")) {
      const { data, layout } = coloured(figures[place.dataset.figure], style);
      if (place.clientWidth < 520 && layout.yaxis.ticktext) above(layout);
      if (width) layout.width = Math.min(width, place.clientWidth || width);
      Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("print");
    draw(640);
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("print");
    draw();
  });
  for (const button of document.querySelectorAll(".copy button"))
    button.addEventListener("click", async () => {
      const block = button.parentElement.querySelector("pre");
      getSelection().selectAllChildren(block);
      try { await navigator.clipboard.writeText(block.textContent); button.textContent = "Copied"; }
      catch { button.textContent = "Selected"; }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
})();
