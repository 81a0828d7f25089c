// The outputs: where events go, and whether they are accepted there.

import { read } from "./api.js";
import { el, factList } from "./dom.js";
import { duration, number, relative, setHostTime, absolute } from "./format.js";
import { badge, stateOf } from "./states.js";
import { tableOf } from "./sources.js";

export function outputs() {
  let data = null;
  return {
    nav: "outputs",
    title: () => "Outputs",
    refreshes: true,
    async load(signal) {
      const response = await read("/api/v1/sources?limit=1&offset=0", signal);
      setHostTime(response.at);
      data = response;
    },
    render: () => [
      el("h1", { id: "heading", tabindex: "-1" }, "Outputs"),
      el("p", { class: "lead" }, "A source moves past a position only after its outputs have accepted the events up to it. While an output is blocked nothing is lost: collection waits, and continues from the same place."),
      data && outputTable(data.outputs ?? []),
      data && host(data.host),
    ],
    actions: {},
  };
}

const COLUMNS = [
  { title: "Output" },
  { title: "State" },
  { title: "Type" },
  { title: "Last success", numeric: true },
  { title: "Events", numeric: true },
  { title: "Batches", numeric: true },
  { title: "Retries", numeric: true },
  { title: "Time blocked", numeric: true },
  { title: "Waiting sources", numeric: true },
];

export function outputTable(rows) {
  if (rows.length === 0) return el("p", { class: "quiet" }, "No output is known.");
  return tableOf(
    "Outputs",
    COLUMNS,
    rows.map((output) => ({
      key: output.output,
      tone: stateOf(output.state).tone,
      cells: [
        output.output,
        badge(output.state),
        output.type ?? "–",
        relative(output.last_success_at),
        number(output.events),
        number(output.batches),
        number(output.retries),
        duration(output.blocked_seconds),
        number(output.backlog_sources),
      ],
      more: output.detail,
    })),
  );
}

function host(host) {
  if (!host) return null;
  const facts = [
    ["Version", host.version],
    ["Process", host.pid],
    ["Started", absolute(host.started_at)],
    ["Ready", host.ready === undefined ? null : host.ready ? "yes" : "no"],
  ].filter(([, value]) => value !== null && value !== undefined);
  return el(
    "section",
    { "aria-labelledby": "host" },
    el("h2", { id: "host" }, "Host"),
    factList(facts),
  );
}
