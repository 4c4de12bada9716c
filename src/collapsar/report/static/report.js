// Draws the charts from the numbers in #content. The lists of dashes and symbols match the swatches of the template.
"use strict";
(() => {
  const content = { chains: [], ...JSON.parse(document.getElementById("content").textContent) };
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down"];
  // A chain's metric that never changes came as a lone number.
  content.chains.forEach(({ metrics, generations }) => Object.keys(metrics).forEach((key) => {
    if (!Array.isArray(metrics[key])) metrics[key] = generations.map(() => metrics[key]);
  }));
  const hidden = new Set();
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  let canDraw = false; // until Plotly is unpacked

  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (arm) => token(`--c${arm % 8}`);
  const transparent = (hex, alpha) => {
    const [red, green, blue] = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
    return `rgba(${red},${green},${blue},${alpha})`;
  };
  // Plotly reads a little HTML and %{placeholders} in names and hover texts: show both as they are.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "%\u2060{");
  const armName = (arm) => plain(content.arms[arm]);

  const layout = (x, y, more = {}) => {
    const axis = (title, extra) => ({
      title: { text: title, font: { size: 13 } }, gridcolor: token("--grid"), linecolor: token("--line"),
      zeroline: false, tickfont: { size: 12 }, automargin: true, ...extra,
    });
    return {
      margin: { l: 48, r: 12, t: 8, b: 40 }, showlegend: false, hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
      font: { family: getComputedStyle(document.body).fontFamily, color: token("--muted"), size: 13 },
      hoverlabel: { bgcolor: token("--surface"), bordercolor: token("--line"), font: { color: token("--text"), size: 13 } },
      xaxis: axis(x.title, x.extra), yaxis: axis(y.title, y.extra), ...more,
    };
  };

  const isCrowded = content.arms.length > 8; // bands and the lines of single seeds would hide each other

  const band = (arm, x, low, high, shape = "linear") => {
    const known = x.map((_, i) => i).filter((i) => low[i] !== null && high[i] !== null);
    const pick = (values) => known.map((i) => values[i]);
    const edge = { mode: "lines", line: { width: 0, shape }, hoverinfo: "skip", visible: !hidden.has(arm), x: pick(x) };
    return known.length < 2 ? [] : [
      { ...edge, y: pick(low) },
      { ...edge, y: pick(high), fill: "tonexty", fillcolor: transparent(colour(arm), isCrowded ? 0.05 : 0.16) },
    ];
  };

  const seeds = (metric) => {
    if (isCrowded) return [];
    const chains = content.chains.filter((chain) => chain.metrics[metric]);
    const numSeeds = (arm) => chains.filter((chain) => chain.arm === arm).length;
    return chains.filter((chain) => numSeeds(chain.arm) > 1).map((chain) => ({
      x: chain.generations, y: chain.metrics[metric], mode: "lines", visible: !hidden.has(chain.arm),
      line: { width: 1, color: transparent(colour(chain.arm), 0.4) },
      name: plain(chain.label), hovertemplate: `${armName(chain.arm)}, seed ${chain.seed}: %{y}<extra></extra>`,
    }));
  };

  const mean = (curve) => ({
    x: curve.generations, y: curve.mean, mode: "lines+markers", name: armName(curve.arm), visible: !hidden.has(curve.arm),
    line: { color: colour(curve.arm), width: 2.4, dash: DASHES[curve.arm % 5] },
    marker: { color: colour(curve.arm), size: curve.mean.length > 40 ? 3 : 7, symbol: SYMBOLS[curve.arm % 5] },
    hovertemplate: `${armName(curve.arm)}<br>generation %{x}: %{y:.4~g}<extra></extra>`,
  });

  const floor = (entry, last) => ({
    x: [0, last], y: [entry.value, entry.value], mode: "lines", name: "real against real",
    line: { color: token("--muted"), width: 1.4, dash: "6px,4px" },
    hovertemplate: `real against real (${plain(entry.label)}): %{y:.4~g}<extra></extra>`,
  });

  const law = (entry) => ({
    x: entry.generations, y: entry.values, mode: "lines", visible: !hidden.has(entry.arm),
    line: { color: token("--text"), width: 2, dash: "2px,3px" }, name: "law",
    hovertemplate: `law for ${armName(entry.arm)}: %{y:.4~g}<extra></extra>`,
  });

  const lastGeneration = Math.max(1, ...content.chains.flatMap((chain) => chain.generations));
  const generations = { title: "generation", extra: { range: [-0.25, lastGeneration + 0.25], tickformat: "d", nticks: Math.min(9, lastGeneration + 1) } };

  const drawings = {
    metric(figure) {
      const metric = figure.dataset.metric;
      const curves = content.curves[metric] || [];
      const traces = [
        ...curves.flatMap((c) => band(c.arm, c.generations, c.low, c.high)), ...seeds(metric),
        ...(content.floors[metric] || []).map((entry) => floor(entry, lastGeneration)),
        ...curves.map(mean), ...(content.laws[metric] || []).map(law),
      ];
      const isLog = figure.querySelector("[data-log]")?.getAttribute("aria-pressed") === "true";
      const range = content.shares.includes(metric) ? { range: [-0.02, 1.02] } : { rangemode: "tozero" };
      return [traces, layout(generations, { title: "", extra: isLog ? { type: "log" } : range })];
    },
    path() {
      const recalls = new Map((content.curves.recall || []).map((curve) => [curve.arm, curve]));
      const traces = (content.curves.precision || []).filter((curve) => recalls.has(curve.arm)).map((curve) => {
        const recall = recalls.get(curve.arm);
        return {
          ...mean(curve), x: recall.mean, y: curve.mean, customdata: curve.generations,
          marker: {
            ...mean(curve).marker, size: curve.generations.map((_, i) => (i === 0 ? 13 : 7)), opacity: 1,
            symbol: curve.generations.map((_, i) => SYMBOLS[curve.arm % 5] + (i === 0 ? "-open" : "")),
            line: { width: curve.generations.map((_, i) => (i === 0 ? 2 : 0)) },
          },
          hovertemplate: `${armName(curve.arm)}, generation %{customdata}<br>recall %{x:.3f}, precision %{y:.3f}<extra></extra>`,
        };
      });
      const share = (title) => ({ title, extra: { range: [-0.03, 1.03] } });
      return [traces, layout(share("recall"), share("precision"))];
    },
    survival() {
      const traces = content.survival.flatMap((curve) => [
        ...band(curve.arm, curve.generations, curve.low, curve.high, "hv"),
        {
          x: curve.generations, y: curve.alive, mode: "lines", name: armName(curve.arm), visible: !hidden.has(curve.arm),
          line: { color: colour(curve.arm), width: 2.4, dash: DASHES[curve.arm % 5], shape: "hv" },
          hovertemplate: `${armName(curve.arm)}<br>generation %{x}: %{y:.0%} alive ` +
            `(${curve.num_deaths} of ${curve.num_classes} died)<extra></extra>`,
        },
      ]);
      return [traces, layout(generations, { title: "", extra: { range: [-0.02, 1.04], tickformat: ".0%" } })];
    },
  };

  const draw = (figure) => {
    if (!canDraw || figure.closest("details:not([open])")) return;
    const [traces, arrangement] = drawings[figure.dataset.chart](figure);
    Plotly.react(figure.querySelector(".plot"), traces, arrangement, { displayModeBar: false, responsive: true });
  };
  const drawAll = () => figures.forEach(draw);

  const unpack = (element) => {
    const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  // The page carries Plotly as compressed text: run it as a script, then draw; where that fails, a notice says so.
  const loadPlotly = async () => {
    const script = document.createElement("script");
    script.textContent = await unpack(document.getElementById("plotly"));
    document.head.append(script);
    canDraw = true;
    drawAll();
  };

  document.querySelectorAll("button.arm").forEach((button) => button.addEventListener("click", () => {
    const arm = Number(button.dataset.arm);
    const isShown = hidden.has(arm);
    if (isShown) hidden.delete(arm); else hidden.add(arm);
    button.setAttribute("aria-pressed", String(isShown));
    drawAll();
  }));

  document.querySelectorAll("[data-log]").forEach((button) => button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    draw(button.closest("figure"));
  }));

  document.querySelectorAll("details.family").forEach((family) =>
    family.addEventListener("toggle", () => family.querySelectorAll("figure[data-chart]").forEach(draw)));

  const evidence = document.getElementById("evidence");
  if (evidence) {
    const toggle = () => {
      const isShown = evidence.getAttribute("aria-pressed") !== "true";
      evidence.setAttribute("aria-pressed", String(isShown));
      document.querySelector(".verdicts").classList.toggle("brief", !isShown);
    };
    evidence.hidden = false;
    evidence.addEventListener("click", toggle);
    toggle();
  }

  const download = document.getElementById("download");
  if (download) {
    const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
    const rows = () => content.chains.flatMap((chain) => Object.entries(chain.metrics).flatMap(([metric, values]) =>
      values.map((value, i) => value === null ? "" :
        [quote(chain.label), quote(content.arms[chain.arm]), chain.seed, chain.generations[i], quote(metric), value].join(","))))
      .filter(Boolean);
    download.hidden = false;
    download.addEventListener("click", () => {
      const link = document.createElement("a");
      const lines = ["chain,arm,seed,generation,metric,value", ...rows()];
      link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
      link.download = "collapsar.csv";
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  // Every window shows the last of its frames up to the generation that the slider is at.
  const player = document.getElementById("player");
  if (player) {
    const slider = document.getElementById("frame"), play = document.getElementById("play"), text = document.getElementById("frame-text");
    const windows = [...document.querySelectorAll(".window[data-generations]")].map((element) => (
      { element, generations: element.dataset.generations.split(" ").map(Number) }));
    const generations = slider.dataset.generations.split(" ").map(Number);
    let timer = null;
    const show = () => {
      const generation = generations[slider.value];
      windows.forEach(({ element, generations: own }) => {
        const frame = Math.max(0, own.filter((one) => one <= generation).length - 1);
        // counted from the right, because the window begins there
        element.scrollLeft = -(own.length - 1 - frame) * element.firstElementChild.clientWidth / own.length;
      });
      text.textContent = `${generation} of ${generations.at(-1)}`;
      slider.setAttribute("aria-valuetext", `generation ${generation}`);
    };
    const stop = () => {
      clearTimeout(timer);
      timer = null;
      play.textContent = "Play";
    };
    const step = () => {
      slider.value = (Number(slider.value) + 1) % generations.length;
      show();
      timer = setTimeout(step, Number(slider.value) === generations.length - 1 ? 2400 : 700);
    };
    const start = () => {
      play.textContent = "Pause";
      step();
    };
    player.hidden = false;
    play.addEventListener("click", () => timer ? stop() : start());
    slider.addEventListener("input", () => { stop(); show(); });
    addEventListener("resize", show);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) start(); else show();
  }

  const scrollers = document.querySelectorAll(".scroller, .contents");
  const cue = (element) => element.classList.toggle("more", element.scrollLeft + element.clientWidth < element.scrollWidth - 4);
  const watched = new ResizeObserver((entries) => entries.forEach(({ target }) => cue(target.closest(".scroller, .contents"))));
  scrollers.forEach((element) => {
    element.addEventListener("scroll", () => cue(element), { passive: true });
    [element, ...element.children].forEach((box) => watched.observe(box)); // what it holds may grow when it is drawn
  });

  const theme = document.getElementById("theme");
  const THEMES = ["auto", "light", "dark"];
  const currentTheme = () => document.documentElement.dataset.theme || "auto";
  theme.hidden = false;
  theme.textContent = `Theme: ${currentTheme()}`;
  theme.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
    try { localStorage.setItem("collapsar-theme", next === "auto" ? "" : next); } catch { /* closed to pages from disk */ }
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  if (figures.length > 0) loadPlotly().catch(() => document.documentElement.classList.remove("can-draw"));
})();
