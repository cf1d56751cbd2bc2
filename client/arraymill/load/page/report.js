// Draws the plots that the block of data describes. Nothing is fetched; without this script the tables tell the same.
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const drawn = new Map();

  const digits = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 99.95) return Math.round(value).toLocaleString("en-US");
    return String(Number(value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size))))));
  };
  const scaled = (value, units) => {
    const [size, name] = units.find(([least]) => Math.abs(value) >= least * 0.9995) ?? units[units.length - 1];
    return `${digits(value / size)} ${name}`;
  };
  const SECONDS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]];
  const BYTES = [5, 4, 3, 2, 1, 0].map((power) => [1024 ** power, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power]]);
  const TEXTS = {
    "seconds": (value) => (value === 0 ? "0 s" : scaled(value, SECONDS)),
    "bytes": (value) => scaled(value, BYTES),
    "bytes per second": (value) => `${scaled(value, BYTES)}/s`,
    "per second": (value) => `${digits(value)}/s`,
    "share": (value) => `${digits(value * 100)} %`,
    "count": digits,
  };
  const clock = (value) => {
    const tenths = Math.round(value * 10);
    const hours = Math.floor(tenths / 36000);
    const minutes = Math.floor(tenths / 600) % 60;
    const seconds = String(Math.floor(tenths / 10) % 60).padStart(2, "0");
    const rest = tenths % 10 ? `.${tenths % 10}` : "";
    return `${hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes}:${seconds}${rest}`;
  };
  const quantile = (place) => {
    const below = 100 - 100 * 10 ** -place;
    return `${Number(below.toFixed(Math.max(0, Math.ceil(place - 1))))} %`;
  };
  const PLACES = { time: clock, quantile, rate: (value) => `${digits(value)}/s`, clients: digits };
  const NAMES = { time: "time", quantile: "of jobs", rate: "asked for", clients: "clients" };
  const TIMES = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400];
  const POWERS = Array.from({ length: 60 }, (_, power) => 2 ** power);

  // A colour of the stylesheet as the browser computes it now: canvases know no variables.
  const probe = document.createElement("span");
  probe.className = "visually-hidden";
  document.body.append(probe);
  const named = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const color = (name) => {
    if (typeof name === "string") return named(name);
    const half = name < 0.5 ? 0 : 1;
    probe.style.color = `color-mix(in oklab, var(--ramp-${half + 1}) ${(name * 2 - half) * 100}%, var(--ramp-${half}))`;
    return getComputedStyle(probe).color;
  };

  const DENSE = 1200; // points, above which lines are thin
  const STEPS = [1, 2, 5];
  const around = (least, most) => {
    const floor = 10 ** Math.floor(Math.log10(least));
    const ceiling = 10 ** Math.floor(Math.log10(most));
    const low = [...STEPS].reverse().find((step) => step * floor <= least * 1.0001) ?? 1;
    const high = [...STEPS, 10].find((step) => step * ceiling >= most * 0.9999);
    return low * floor === high * ceiling ? [low * floor, high * ceiling * 2] : [low * floor, high * ceiling];
  };
  const decades = (_, __, low, high) => {
    const span = Math.log10(high / low);
    const factors = span <= 3 ? STEPS : [1];
    const splits = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of factors) {
        const split = factor * 10 ** power;
        if (split >= low * 0.9999 && split <= high * 1.0001) splits.push(split);
      }
    }
    return splits;
  };
  const nines = (u, _, low, high) => {
    const room = u.bbox.width / uPlot.pxRatio / (high - low);
    const splits = [0, ...(room > 90 ? [Math.log10(2)] : []), 1, 2, 3, 4, 5, 6, 7, 8, 9];
    return splits.filter((at) => at >= low && at <= high && (room > 64 || at % 2 === 0));
  };

  const horizontal = (plot, marks) => ({
    time: false,
    range: (_, least, most) => {
      if (least === null) return [0, 1];
      const low = plot.x === "quantile" && most - least > 1 ? Math.min(least, 0) : Math.min(least, ...marks);
      const high = Math.max(most, ...marks);
      if (plot.x === "rate" || plot.x === "clients") return [low - (high - low || low) * 0.05, high + (high - low || high) * 0.05];
      return low === high ? [low, high + 1] : [low, high];
    },
  });
  const vertical = (plot) => ({
    distr: plot.log ? 3 : 1,
    range: (_, least, most) => {
      if (least === null) return plot.log ? [1e-3, 1] : [0, 1];
      if (plot.log) return around(least, most);
      return [0, most > 0 ? most * 1.08 : 1];
    },
  });

  const line = (series, isDense) => {
    const stroke = color(series.color);
    const text = TEXTS[series.unit];
    const shape = {
      label: series.label,
      scale: series.style === "errors" ? "errors" : "y",
      stroke,
      width: isDense ? 1 : { thin: 1, dashed: 1.5 }[series.style] ?? 2,
      alpha: isDense && series.style === "thin" ? 0.6 : 1,
      dash: series.style === "dashed" ? [6, 4] : undefined,
      value: (_, value) => (value === null || value === undefined ? "" : text(value)),
      points: { size: 5, space: 24, stroke, fill: stroke },
      // uPlot draws through a gap and cuts it out: without the margin the ends of steep lines stay.
      gaps: (_, __, ___, ____, gaps) => gaps.map(([from, to]) => [from - 2 * uPlot.pxRatio, to + 2 * uPlot.pxRatio]),
    };
    if (series.style === "errors") Object.assign(shape, { paths: () => null, points: { show: false } });
    return shape;
  };

  const drawErrors = (plot) => (u) => {
    plot.series.forEach((series, place) => {
      if (series.style !== "errors" || !u.series[place + 1].show) return;
      const { left, top, width, height } = u.bbox;
      u.ctx.save();
      u.ctx.fillStyle = color(series.color);
      u.data[0].forEach((at, index) => {
        if (!u.data[place + 1][index]) return;
        const x = u.valToPos(at, "x", true);
        if (x >= left && x <= left + width) u.ctx.fillRect(x - uPlot.pxRatio, top + height - 9 * uPlot.pxRatio, 2 * uPlot.pxRatio, 9 * uPlot.pxRatio);
      });
      u.ctx.restore();
    });
  };
  const drawMarks = (plot) => (u) => {
    const { left, top, width, height } = u.bbox;
    let free = -Infinity;
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = color("muted");
    u.ctx.font = font.replace("12px", `${11 * uPlot.pxRatio}px`);
    u.ctx.textBaseline = "bottom";
    u.ctx.textAlign = "left";
    u.ctx.setLineDash([3 * uPlot.pxRatio, 3 * uPlot.pxRatio]);
    for (const mark of plot.marks) {
      const x = u.valToPos(mark.at, "x", true);
      if (x < left - 1 || x > left + width + 1) continue;
      u.ctx.beginPath();
      u.ctx.moveTo(x, top);
      u.ctx.lineTo(x, top + height);
      u.ctx.stroke();
      const size = u.ctx.measureText(mark.label).width;
      const at = Math.min(x, left + width - size);
      if (at < free) continue;
      u.ctx.fillText(mark.label, at, top - 2 * uPlot.pxRatio);
      free = at + size + 8 * uPlot.pxRatio;
    }
    u.ctx.restore();
  };

  const axes = (plot) => {
    const stroke = color("muted");
    const grid = { stroke: color("grid"), width: 1 };
    const ticks = { stroke: color("rule"), width: 1, size: 5 };
    const shared = { stroke, grid, ticks, font };
    const x = { ...shared, space: 64, size: 34, values: (_, splits) => splits.map(PLACES[plot.x]) };
    if (plot.x === "time") x.incrs = TIMES;
    if (plot.x === "clients") x.incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
    if (plot.x === "quantile") x.splits = nines;
    const y = {
      ...shared,
      scale: "y",
      size: (u, values) => Math.max(36, ...(values ?? []).map((value) => value.length * 7.2 + 14)),
      values: (_, splits) => splits.map(TEXTS[plot.unit]),
    };
    if (plot.unit.startsWith("bytes")) y.incrs = POWERS;
    if (plot.unit === "count") y.incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    if (plot.log) Object.assign(y, { splits: decades, filter: (_, splits) => splits });
    return [x, y];
  };

  const draw = (plot) => {
    const place = document.getElementById(`plot-${plot.id}`);
    if (!place) return;
    drawn.get(plot.id)?.destroy();
    const marks = plot.marks.map((mark) => mark.at);
    const isDense = plot.tables[0][0].length > DENSE;
    const options = {
      width: place.clientWidth,
      height: 270,
      padding: [plot.marks.length ? 18 : 10, 24, 0, 0],
      scales: { x: horizontal(plot, marks), y: vertical(plot), errors: { auto: false, range: [0, 1] } },
      series: [{ label: NAMES[plot.x], value: (_, value) => (value === null || value === undefined ? "" : PLACES[plot.x](value)) }, ...plot.series.map((series) => line(series, isDense))],
      axes: axes(plot),
      legend: { markers: { width: 0, fill: (_, place) => (place ? color(plot.series[place - 1].color) : "transparent") } },
      cursor: { y: false, points: { size: 7 }, ...(plot.x === "time" ? { sync: { key: "time" } } : {}) },
      hooks: { draw: [drawErrors(plot), drawMarks(plot)] },
    };
    drawn.set(plot.id, new uPlot(options, plot.tables.length > 1 ? uPlot.join(plot.tables) : plot.tables[0], place));
  };
  const drawAll = () => plots.forEach(draw);

  const button = document.querySelector(".theme");
  const theme = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const name = () => { button.textContent = theme() === "dark" ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    name();
    drawAll();
  });
  dark.addEventListener("change", () => { name(); drawAll(); });

  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    drawAll();
  });
  addEventListener("afterprint", () => {
    if (before === undefined) delete root.dataset.theme; else root.dataset.theme = before;
    drawAll();
  });
  new ResizeObserver(() => {
    for (const [id, plot] of drawn) {
      const width = document.getElementById(`plot-${id}`).clientWidth;
      if (width !== plot.width) plot.setSize({ width, height: plot.height });
    }
  }).observe(document.body);
  name();
  drawAll();
})();
