// A plot of events and lag over time: two panels with one time axis. The same
// numbers are in a table below it, and in a sentence that is its description.

import { el, svg } from "./dom.js";
import { clockTime, counted, duration, number, shortNumber, stamp } from "./format.js";

const MINUTE = 60_000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 240, 720].map((minutes) => minutes * MINUTE);
const BARS_MAX = 60;
const TABLE_ROWS = 24;

/**
 * Sums points up into at most `max` intervals of a round length: events are
 * added, of the lag the highest counts. An interval without a point is null.
 */
export function intervals(points, max = BARS_MAX) {
  const known = points
    .map((point) => ({ at: Date.parse(point.at), events: point.events ?? 0, lag: point.lag_seconds ?? null }))
    .filter((point) => Number.isFinite(point.at));
  if (known.length === 0) return { step: STEPS[0], start: 0, rows: [] };
  const first = known[0].at;
  const last = known[known.length - 1].at;
  const step = STEPS.find((step) => (last - first) / step < max - 1) ?? STEPS[STEPS.length - 1];
  const start = Math.floor(first / step) * step;
  const rows = Array.from({ length: Math.min(max, Math.floor((last - start) / step) + 1) }, () => null);
  for (const point of known) {
    const index = Math.floor((point.at - start) / step);
    if (index < 0 || index >= rows.length) continue;
    const row = (rows[index] ??= { at: start + index * step, events: 0, lag: null });
    row.events += point.events;
    if (point.lag !== null) row.lag = Math.max(row.lag ?? 0, point.lag);
  }
  return { step, start, rows };
}

/** The next number above that reads well on an axis. */
export function roundUp(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= value);
}

const LAG_MARKS = [60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400];

function roundUpLag(value) {
  return LAG_MARKS.find((mark) => mark >= value) ?? roundUp(value);
}

function describe({ step, rows }) {
  const known = rows.filter(Boolean);
  const events = known.reduce((sum, row) => sum + row.events, 0);
  const lags = known.map((row) => row.lag).filter((lag) => lag !== null);
  const span = duration((rows.length * step) / 1000);
  const lag = lags.length > 0
    ? ` Lag: now ${duration(lags[lags.length - 1])}, at most ${duration(Math.max(...lags))}.`
    : "";
  return `${counted(events, "event")} in the last ${span}.${lag}`;
}

/** The section with the plot. `width` is that of its container in pixels. */
export function plot(points, width) {
  const data = intervals(points);
  if (data.rows.filter(Boolean).length < 2) {
    return [el("p", { class: "quiet" }, "There are no measurements yet. The plot begins a few minutes after the start of the host.")];
  }
  const summary = describe(data);
  return [
    el("p", {}, summary),
    drawing(data, Math.max(width, 260), summary),
    el("p", { class: "legend", "aria-hidden": "true" },
      el("span", { class: "key events" }, `Events in ${duration(data.step / 1000)}`),
      el("span", { class: "key lag" }, "Lag")),
    el(
      "details",
      {},
      el("summary", {}, "The numbers as a table"),
      tableOfPoints(data),
    ),
  ];
}

function tableOfPoints({ step, rows }) {
  const known = rows.filter(Boolean).slice(-TABLE_ROWS).reverse();
  return el(
    "table",
    { class: "numbers" },
    el("caption", {}, `Events and lag in intervals of ${duration(step / 1000)}, newest first`),
    el("thead", {}, el("tr", {}, ["From", "Events", "Lag"].map((name) => el("th", { scope: "col" }, name)))),
    el(
      "tbody",
      {},
      known.map((row) =>
        el("tr", {}, el("th", { scope: "row" }, stamp(row.at)), el("td", {}, number(row.events)), el("td", {}, duration(row.lag))),
      ),
    ),
  );
}

function drawing({ step, start, rows }, width, summary) {
  const left = 56;
  const right = 10;
  const panels = { events: { top: 14, height: 110 }, lag: { top: 152, height: 70 } };
  const height = 250;
  const inner = width - left - right;
  const x = (index) => left + (index / rows.length) * inner;
  const eventsMax = roundUp(Math.max(...rows.map((row) => row?.events ?? 0)));
  const lagMax = roundUpLag(Math.max(...rows.map((row) => row?.lag ?? 0)));
  const y = ({ top, height }, value, max) => top + height - (value / max) * height;
  const barWidth = Math.max(1, inner / rows.length - 2);

  const bars = rows.map((row, index) => {
    if (!row || row.events === 0) return null;
    const top = Math.min(y(panels.events, row.events, eventsMax), panels.events.top + panels.events.height - 1);
    return svg("rect", {
      class: "bar",
      x: (x(index) + 1).toFixed(1),
      y: top.toFixed(1),
      width: barWidth.toFixed(1),
      height: (panels.events.top + panels.events.height - top).toFixed(1),
      rx: Math.min(2, barWidth / 2),
    });
  });

  // A line per run of known values: what is not known is not drawn.
  const runs = [];
  let run = [];
  rows.forEach((row, index) => {
    if (row && row.lag !== null) run.push([x(index + 0.5), y(panels.lag, row.lag, lagMax)]);
    else if (run.length > 0) runs.push(run.splice(0));
  });
  if (run.length > 0) runs.push(run);
  const lines = runs.map((run) =>
    run.length === 1
      ? svg("circle", { class: "point", cx: run[0][0].toFixed(1), cy: run[0][1].toFixed(1), r: 2 })
      : svg("polyline", { class: "line", points: run.map((at) => at.map((value) => value.toFixed(1)).join(",")).join(" ") }),
  );

  // What the pointer is over is named by the title of a column over both panels.
  const columns = rows.map((row, index) =>
    svg(
      "rect",
      { class: "column", x: x(index).toFixed(1), y: panels.events.top, width: (inner / rows.length).toFixed(1), height: panels.lag.top + panels.lag.height - panels.events.top },
      svg("title", {}, row
        ? `${clockTime(row.at)} UTC: ${counted(row.events, "event")}, lag ${duration(row.lag)}`
        : `${clockTime(start + index * step)} UTC: not measured`),
    ),
  );

  const every = Math.max(1, Math.ceil(rows.length / Math.max(2, Math.floor(inner / 80))));
  const timeTicks = rows.map((_, index) =>
    index % every === 0 && x(index) < width - 40
      ? [
          svg("line", { class: "tick", x1: x(index).toFixed(1), x2: x(index).toFixed(1), y1: panels.lag.top + panels.lag.height, y2: panels.lag.top + panels.lag.height + 4 }),
          svg("text", { x: x(index).toFixed(1), y: height - 10, class: "axis" }, clockTime(start + index * step)),
        ]
      : null,
  );

  const grid = (panel, max, label) =>
    [0, 0.5, 1].map((part) => {
      const at = panel.top + panel.height - part * panel.height;
      return [
        svg("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }),
        part !== 0.5 || max > 1 ? svg("text", { class: "axis end", x: left - 8, y: at + 4 }, label(max * part)) : null,
      ];
    });

  return svg(
    "svg",
    { class: "plot", role: "img", "aria-label": `Events and lag over time. ${summary}`, viewBox: `0 0 ${width} ${height}`, width, height },
    grid(panels.events, eventsMax, shortNumber),
    grid(panels.lag, lagMax, (value) => (value === 0 ? "0" : duration(value))),
    bars,
    lines,
    timeTicks,
    columns,
  );
}
