// The states of sources, streams and outputs: one word each, the same as in
// `status`, the log, the API and the metrics.

import { el, svg } from "./dom.js";

// In the order in which an operator wants to see them.
export const STATES = [
  { name: "failing", tone: "bad", icon: "cross", means: "the last polls failed" },
  { name: "unauthorized", tone: "bad", icon: "lock", means: "credentials are refused" },
  { name: "blocked", tone: "bad", icon: "block", means: "what is collected is not accepted or cannot be stored" },
  { name: "stopped", tone: "bad", icon: "square", means: "no process collects" },
  { name: "not-permitted", tone: "warn", icon: "lock", means: "a permission is missing" },
  { name: "waiting", tone: "warn", icon: "clock", means: "for the quota or a rate limit" },
  { name: "starting", tone: "calm", icon: "dots", means: "no poll has ended yet" },
  { name: "paused", tone: "calm", icon: "pause", means: "by the settings or an operator" },
  { name: "active", tone: "good", icon: "check", means: "collecting, or caught up" },
];

const UNKNOWN = { tone: "calm", icon: "dots", means: "" };

export function stateOf(name) {
  return STATES.find((state) => state.name === name) ?? { ...UNKNOWN, name };
}

/** The word with a capital, as in a heading. */
export function capitalize(name) {
  const text = String(name ?? "unknown");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// Each state has a shape of its own, so that nothing depends on colour.
const SHAPES = {
  check: ["circle", "M5 8.3l2.2 2.2L11 6"],
  cross: ["circle", "M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8"],
  block: ["circle", "M4 12L12 4"],
  pause: ["circle", "M6.4 5.6v4.8M9.6 5.6v4.8"],
  clock: ["circle", "M8 4.6V8l2.4 1.6"],
  dots: ["circle", "M5.2 8h.02M8 8h.02M10.8 8h.02"],
  square: ["circle", "M6 6h4v4H6z"],
  lock: ["", "M4.5 7.5h7v5.5h-7zM6 7.5V5.2a2 2 0 0 1 4 0v2.3"],
};

export function icon(name) {
  const [frame, path] = SHAPES[name];
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", focusable: "false" },
    frame && svg("circle", { cx: 8, cy: 8, r: 6.6 }),
    svg("path", { d: path }),
  );
}

/** The state as a word with its shape. */
export function badge(name) {
  const state = stateOf(name);
  return el("span", { class: `badge ${state.tone}`, "data-state": name }, icon(state.icon), capitalize(name));
}

/** What to do about a state, where the error itself does not name it. */
export function advice(state, error) {
  const kind = error?.kind ?? "";
  if (state === "unauthorized" || kind === "unauthorized") {
    return "Check the credentials: edit the source, enter the secret again, then test the connection. It is retried automatically, and at once when the secret changes.";
  }
  if (state === "not-permitted" || kind === "not-permitted") {
    return "Grant the permission that is named in the Mimecast administration console, then test the connection. Products of an application cannot be added later: make a new application where one is missing.";
  }
  if (state === "blocked") {
    return "Repair what is named above: an output, or the disk of the host. Nothing is lost; collection continues from the same place by itself.";
  }
  if (state === "stopped") {
    return "No process collects this source, and it is not retried automatically. If source-host runs, correct what the error or its log names, then reload the settings; otherwise start source-host.";
  }
  if (state === "waiting") {
    return "Nothing needs to be done: collection resumes by itself. If this lasts, another program may use the same quota; siem_calls_per_15_min lowers the share of this one.";
  }
  if (state === "failing") {
    return "Test the connection to see which part fails. Polls are retried automatically with growing waits; events that the vendor still keeps are collected then.";
  }
  return "";
}
