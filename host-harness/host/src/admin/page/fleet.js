// The fleet: hosts that share their sources, above the sources that this host had last.

import { el, factList } from "./dom.js";
import { absolute, duration, number, relative } from "./format.js";
import { STATES, capitalize, icon } from "./states.js";
import { tableOf } from "./sources.js";

const COLUMNS = [
  { title: "Host" },
  { title: "Version" },
  { title: "Started", numeric: true },
  { title: "Leases", numeric: true },
  { title: "Taken", numeric: true },
  { title: "Expired", numeric: true },
  { title: "Fenced", numeric: true },
  { title: "Longest delay", numeric: true },
];

/** The whole fleet, or nothing where the host is not part of one. */
export function fleet(status) {
  if (!status) return null;
  const overview = status.overview;
  return el(
    "section",
    { "aria-labelledby": "fleet" },
    el("h2", { id: "fleet" }, "Fleet"),
    factList([
      ["Hosts", number(status.hosts)],
      ["Tenants", number(status.tenants)],
      ["Leases", overview ? number(overview.leases) : "–"],
      ["Oldest due", oldest(overview)],
      ["Never polled", number(overview?.never_polled)],
      ["Tenants read", overview ? relative(overview.at) : "not yet"],
    ]),
    overview && states(overview.states),
    overview && overview.hosts.length > 0 && hosts(overview.hosts, status.host),
    el("p", { class: "quiet" }, "The list below has the tenants that this host had last. Tenants are added, changed, paused and removed with ", el("code", {}, "source-host fleet"), "."),
  );
}

function oldest(overview) {
  if (!overview) return "–";
  const due = overview.oldest_due;
  return due ? `${due.tenant}, for ${duration(due.seconds)}` : "none";
}

/** The tenants of all hosts by state. */
function states(counts) {
  const shown = STATES.filter(({ name }) => counts[name] > 0);
  return el(
    "p",
    { class: "chips" },
    shown.map(({ name, tone, icon: shape }) =>
      el("span", { class: `badge ${tone}`, "data-key": `fleet-${name}` }, icon(shape), `${capitalize(name)}: ${number(counts[name])}`),
    ),
  );
}

function hosts(rows, own) {
  return tableOf(
    "Hosts of the fleet",
    COLUMNS,
    rows.map((host) => ({
      key: `host-${host.host}`,
      cells: [
        host.host === own ? [host.host, " ", el("span", { class: "tag" }, "this host")] : host.host,
        host.version,
        absolute(host.started_at_ms),
        `${number(host.leases)} of ${number(host.leases_max)}`,
        number(host.taken),
        number(host.expired),
        number(host.fenced),
        duration(host.late_ms / 1000),
      ],
    })),
  );
}
