// Numbers and times as an operator reads them. Times are UTC, as in the log.

import { el } from "./dom.js";

const count = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

let clockOffset = 0;

/** Takes over the clock of the host, so that ages are right where the browser's clock is not. */
export function setHostTime(text) {
  const at = Date.parse(text);
  if (Number.isFinite(at)) clockOffset = at - Date.now();
}

export function hostNow() {
  return Date.now() + clockOffset;
}

export function number(value) {
  return typeof value === "number" ? count.format(value) : "–";
}

export function shortNumber(value) {
  return compact.format(value);
}

/** A number with its noun: "1 source", "2 sources". */
export function counted(value, noun, plural = `${noun}s`) {
  return `${number(value)} ${value === 1 ? noun : plural}`;
}

/** A duration in its two largest units. */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return two(Math.floor(total / 60), "min", total % 60, "s");
  if (total < 86400) return two(Math.floor(total / 3600), "h", Math.floor((total % 3600) / 60), "min");
  return two(Math.floor(total / 86400), "d", Math.floor((total % 86400) / 3600), "h");
}

function two(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** RFC 3339 in UTC; null where it is no time, such as a number too large for one. */
function isoText(time) {
  const date = new Date(time ?? "");
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** RFC 3339 in UTC to the second. */
export function stamp(time) {
  return isoText(time)?.replace(/\.\d+Z$/, "Z") ?? "–";
}

export function clockTime(at) {
  return new Date(at).toISOString().slice(11, 16);
}

/** "12 s ago" or "in 12 s", with the time itself as title. */
export function relative(time) {
  const at = Date.parse(time ?? "");
  if (!Number.isFinite(at)) return el("span", {}, "never");
  const seconds = (hostNow() - at) / 1000;
  const text = seconds < -0.5 ? `in ${duration(-seconds)}` : seconds < 1 ? "now" : `${duration(seconds)} ago`;
  return el("time", { datetime: time, title: stamp(at) }, text);
}

/** The time itself, for tables: from a text, or from milliseconds since the epoch. */
export function absolute(time) {
  const text = isoText(time);
  if (text === null) return el("span", {}, "–");
  return el("time", { datetime: text, class: "stamp" }, stamp(text));
}

export function bytes(value) {
  if (typeof value !== "number") return "–";
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${(value / 1024).toFixed(1)} KiB`;
  if (value < 1024 ** 3) return `${(value / 1024 / 1024).toFixed(1)} MiB`;
  return `${(value / 1024 ** 3).toFixed(1)} GiB`;
}
