// The view of one source: state, streams, plot, outputs, and what can be done.

import { Refused, call, read, sourcePath } from "./api.js";
import { checkResult } from "./check.js";
import { askForReset, confirmRemoval } from "./dialogs.js";
import { announce, el, factList, update } from "./dom.js";
import { absolute, bytes, counted, duration, number, relative, setHostTime, stamp } from "./format.js";
import { outputTable } from "./outputs.js";
import { plot } from "./plot.js";
import { sum, tableOf } from "./sources.js";
import { advice, badge, capitalize, icon, stateOf } from "./states.js";

const HISTORY_EVERY_MS = 30_000;
const CHECK_TIMEOUT_SECONDS = 180;

export function source(app, name, query) {
  let data = null;
  let outputs = [];
  let points = null;
  let pointsAt = 0;
  let isMissing = false;
  let busyAction = null;
  let check = null;
  let message = query.get("saved") ? { tone: "good", texts: ["Saved."] } : null;
  let storedSettings = null;

  async function load(signal) {
    try {
      // All that the page shows is read before any of it is shown.
      const [one, list] = await Promise.all([
        read(sourcePath(name), signal),
        read("/api/v1/sources?limit=1&offset=0", signal),
      ]);
      setHostTime(list.at);
      data = one;
      isMissing = false;
      // Any source may have rejected records.
      outputs = (list.outputs ?? []).filter(({ output }) => output === "dead_letter" || (one.outputs ?? []).includes(output));
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      data = null;
      isMissing = true;
      return;
    }
    if (Date.now() - pointsAt > HISTORY_EVERY_MS) {
      points = (await readOptional(sourcePath(name, "/history"), signal))?.points ?? [];
      pointsAt = Date.now();
    }
    storedSettings ??= (await readOptional(sourcePath(name, "/settings"), signal)) ?? { editable: false, reason: "" };
  }

  /** Runs an action and shows what became of it. */
  async function act(action, request, successText) {
    if (busyAction !== null) return;
    busyAction = action;
    message = null;
    app.show();
    try {
      const response = await request();
      message = { tone: "good", texts: [successText(response)] };
    } catch (error) {
      message = { tone: "bad", texts: error.messages ?? [error.message] };
    } finally {
      busyAction = null;
    }
    await app.refresh();
  }

  async function testConnection() {
    if (busyAction !== null) return;
    busyAction = "check";
    message = null;
    check = null;
    app.show();
    announce("Testing the connection.");
    try {
      check = checkResult(await call("POST", sourcePath(name, "/check"), { body: {}, timeoutSeconds: CHECK_TIMEOUT_SECONDS }));
    } catch (error) {
      check = { isGood: false, at: stamp(Date.now()), detail: error.message, rows: [], facts: [] };
    } finally {
      busyAction = null;
    }
    await app.refresh();
    document.getElementById("check-heading")?.focus();
  }

  const actions = {
    check: testConnection,
    pause: () => act("pause", () => call("POST", sourcePath(name, "/pause"), { body: {} }), () => "Paused. Its position is kept."),
    resume: () => act("resume", () => call("POST", sourcePath(name, "/resume"), { body: {} }), () => "Resumed. Collection continues from its position."),
    remove: async () => {
      if (!(await confirmRemoval(name))) return;
      busyAction = "remove";
      app.show();
      try {
        await call("DELETE", sourcePath(name));
        app.go("#/");
        announce(`${name} is removed.`);
      } catch (error) {
        busyAction = null;
        message = { tone: "bad", texts: error.messages ?? [error.message] };
        app.show();
      }
    },
    reset: async () => {
      const chosen = await askForReset(name, Object.keys(data?.streams ?? {}));
      if (chosen === null) return;
      await act("reset", () => call("POST", sourcePath(name, "/reset"), { body: chosen }), () =>
        `Collects ${chosen.streams.length === 0 ? "all streams" : chosen.streams.join(", ")} again from ${chosen.from}.`,
      );
    },
    dismiss: () => {
      message = null;
      app.show();
    },
  };

  function render() {
    const crumbs = el("nav", { class: "crumbs", "aria-label": "Path" }, el("a", { href: "#/" }, "Collection status"), " / ", name);
    if (isMissing) {
      return [
        crumbs,
        el("h1", { id: "heading", tabindex: "-1" }, name),
        el("p", {}, `There is no source ${name} on this host. It may have been removed.`),
      ];
    }
    return [
      crumbs,
      el("div", { class: "title" }, el("h1", { id: "heading", tabindex: "-1" }, name), data && badge(data.state), data?.stale && el("span", { class: "tag" }, "stale")),
      data && el("p", { class: "lead" }, sentence(data)),
      data && buttons(data),
      el("div", { id: "message", role: "status" }, message && notice(message)),
      el("div", { id: "check", role: "status", "aria-busy": busyAction === "check" ? "true" : "false" },
        busyAction === "check" ? el("p", { class: "notice calm" }, "Testing the connection: one request for each kind of stream…") : check && checkPanel(check)),
      data && problem(data),
      data && waits(data),
      data && facts(data),
      data && el("section", { "aria-labelledby": "plot-heading" }, el("h2", { id: "plot-heading" }, "Events and lag"), el("div", { id: "plot", "data-update-ignore": true })),
      data && el("section", { "aria-labelledby": "streams-heading" }, el("h2", { id: "streams-heading" }, "Streams"), streamTable(data)),
      data && el("section", { "aria-labelledby": "outputs-heading" }, el("h2", { id: "outputs-heading" }, "Outputs"), outputTable(outputs)),
    ];
  }

  function buttons(data) {
    const isPaused = data.state === "paused";
    const button = (action, label, running, tone) =>
      el("button", { type: "button", "data-key": action, "data-action": action, class: tone ?? null, "aria-disabled": busyAction !== null ? "true" : null }, busyAction === action ? running : label);
    const canEdit = storedSettings?.editable === true;
    return [
      el(
        "div",
        { class: "buttons", role: "group", "aria-label": "Actions" },
        button("check", "Test connection", "Testing…", "primary"),
        isPaused ? button("resume", "Resume", "Resuming…") : button("pause", "Pause", "Pausing…"),
        canEdit && el("a", { class: "button", "data-key": "edit", href: `#/edit/${encodeURIComponent(name)}` }, "Edit"),
        button("reset", "Collect again", "Resetting…"),
        canEdit && button("remove", "Remove", "Removing…", "danger"),
      ),
      !canEdit && storedSettings?.reason && el("p", { class: "quiet" }, storedSettings.reason),
    ];
  }

  return {
    nav: "sources",
    title: () => name,
    refreshes: true,
    load,
    render,
    afterRender: () => {
      const container = document.getElementById("plot");
      if (container && points) update(container, ...plot(points, container.clientWidth));
    },
    start: () => {
      if (query.get("check")) void testConnection();
    },
    actions,
  };
}

/** What may be missing in older hosts, or on a host that has just started. */
async function readOptional(path, signal) {
  try {
    return await read(path, signal);
  } catch (error) {
    if (error instanceof Refused && error.status !== 401) return null;
    throw error;
  }
}

function sentence(data) {
  const events = sum(data, "events");
  switch (data.state) {
    case "active":
      return events === 0 ? "Active, no events yet: credentials are accepted and polls succeed." : "Credentials are accepted, polls succeed, outputs accept the events.";
    case "starting":
      return "The first poll has not ended yet.";
    case "paused":
      return data.paused_by === "settings"
        ? "Paused by enabled = false in its settings. Its position is kept."
        : "Paused by an operator. Its position is kept; the pause survives a restart.";
    default:
      return data.detail || `${capitalize(data.state)}: ${stateOf(data.state).means}.`;
  }
}

function notice({ tone, texts }) {
  return el(
    "div",
    { class: `notice ${tone}` },
    icon(tone === "good" ? "check" : "cross"),
    el("div", {}, texts.map((text) => el("p", {}, text))),
    el("button", { type: "button", class: "small", "data-action": "dismiss", "aria-label": "Close this message" }, "Close"),
  );
}

/** The last error and what to do, while it matters. */
function problem(data) {
  const texts = [];
  if (data.settings_error) {
    texts.push(el("p", {}, el("b", {}, "The settings have a mistake: "), data.settings_error));
    texts.push(el("p", {}, "The last good version stays in use until this is corrected; a source that never had one does not collect."));
  }
  const { tone } = stateOf(data.state);
  if (tone === "bad" || tone === "warn") {
    const error = data.last_error;
    if (error) texts.push(el("p", {}, el("b", {}, "Last error"), " (", relative(error.at), "): ", error.detail));
    const todo = advice(data.state, error);
    if (todo) texts.push(el("p", {}, el("b", {}, "What to do: "), todo));
  }
  texts.push(...streamProblems(data));
  if (texts.length === 0) return null;
  return el("section", { class: `notice ${tone === "bad" || data.settings_error ? "bad" : "warn"}`, "aria-label": "Problem" }, icon("cross"), el("div", {}, texts));
}

/** Streams that have a problem which their source as a whole does not have. */
function streamProblems(data) {
  const byState = new Map();
  for (const [name, { state }] of Object.entries(data.streams ?? {})) {
    const { tone } = stateOf(state);
    if (state === data.state || (tone !== "bad" && tone !== "warn")) continue;
    byState.set(state, [...(byState.get(state) ?? []), name]);
  }
  return [...byState].map(([state, names]) =>
    el("p", {}, el("b", {}, `${capitalize(state)}: `), names.join(", "), ". ", advice(state, null)),
  );
}

/** What the source waits for, except what its state says already. */
function waits(data) {
  const others = (data.waits ?? []).filter((wait) => wait !== data.detail);
  if (others.length === 0) return null;
  return el("section", { class: "notice calm", "aria-label": "Waits" }, el("div", {}, others.map((wait) => el("p", {}, wait[0].toUpperCase() + wait.slice(1)))));
}

function facts(data) {
  const rows = [
    ["Lag", duration(data.lag_seconds)],
    ["Last poll", relative(data.last_poll_at)],
    ["Last success", relative(data.last_success_at)],
    ["Next poll", data.next_poll_at ? relative(data.next_poll_at) : "–"],
    ["Received", number(sum(data, "received"))],
    ["Events", number(sum(data, "events"))],
    ["Rejected", number(sum(data, "rejected"))],
    ["Duplicates", number(sum(data, "duplicates"))],
    ["Gaps", number(sum(data, "gaps"))],
    ["Component", data.component ?? "–"],
    ["Checkpoint", data.has_checkpoint ? [bytes(data.checkpoint_bytes), ", stored ", relative(data.stored_at)] : "none yet"],
  ];
  return factList(rows);
}

const STREAM_COLUMNS = [
  { title: "Stream" },
  { title: "State" },
  { title: "Collected until" },
  { title: "Lag", numeric: true },
  { title: "Received", numeric: true },
  { title: "Events", numeric: true },
  { title: "Rejected", numeric: true },
  { title: "Duplicates", numeric: true },
  { title: "Gaps", numeric: true },
];

function streamTable(data) {
  const streams = Object.entries(data.streams ?? {});
  if (streams.length === 0) return el("p", { class: "quiet" }, "No stream is known before the first poll.");
  return tableOf(
    `Streams of ${data.source}`,
    STREAM_COLUMNS,
    streams.map(([name, stream]) => ({
      key: name,
      tone: stateOf(stream.state).tone,
      cells: [
        name,
        [badge(stream.state), stream.until && el("span", { class: "quiet" }, " until ", absolute(stream.until))],
        absolute(stream.collected_until),
        duration(stream.lag_seconds),
        number(stream.received),
        number(stream.events),
        number(stream.rejected),
        number(stream.duplicates),
        number(stream.gaps),
      ],
      more: streamRemark(stream),
    })),
  );
}

/** Why a stream does not collect, its last error, and its last notice. */
function streamRemark(stream) {
  const { tone } = stateOf(stream.state);
  const isGood = tone === "good" || tone === "calm";
  const error = stream.last_error;
  const parts = [];
  const detail = isGood ? "" : stream.detail || error?.detail;
  if (detail) parts.push(el("p", {}, detail));
  if (error && error.detail !== detail) {
    parts.push(el("p", { class: "quiet" }, isGood ? "Last error, since resolved" : "Last error", " (", relative(error.at), "): ", error.detail));
  }
  if (stream.last_notice) parts.push(el("p", { class: "quiet" }, "Last notice (", relative(stream.last_notice.at), "): ", stream.last_notice.detail));
  return parts.length > 0 ? parts : null;
}

function checkPanel(check) {
  const good = check.rows.filter((row) => row.tone === "good").length;
  return el(
    "section",
    { class: `panel ${check.isGood ? "good" : "bad"}`, "aria-labelledby": "check-heading" },
    el("h2", { id: "check-heading", tabindex: "-1" }, icon(check.isGood ? "check" : "cross"), check.isGood ? "Connection successful" : "Connection failed"),
    el("p", {}, el("time", { datetime: check.at, class: "stamp" }, check.at),
      check.rows.length > 0 && ` – ${good} of ${counted(check.rows.length, "stream")} readable`, check.facts.map((fact) => `, ${fact}`)),
    check.detail && el("p", {}, check.detail),
    check.rows.length > 0 &&
      tableOf(
        "Result of the test by stream",
        [{ title: "Stream" }, { title: "Result" }, { title: "What to do", class: "wide" }],
        check.rows.map((row) => ({
          key: row.stream,
          tone: row.tone,
          cells: [
            row.stream,
            el("span", { class: `badge ${row.tone}` }, icon(row.icon), row.word),
            [row.permission && el("p", {}, "Grant ", el("b", { class: "path" }, row.permission), row.product && [" (product: ", row.product, ")"]), row.detail && el("p", {}, row.detail),
              !row.permission && !row.detail && el("span", { class: "quiet" }, "nothing")],
          ],
        })),
      ),
  );
}
