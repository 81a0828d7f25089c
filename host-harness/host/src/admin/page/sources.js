// The view "Collection status": all sources, some at a time.

import { read } from "./api.js";
import { announce, el } from "./dom.js";
import { counted, duration, number, relative, setHostTime } from "./format.js";
import { fleet } from "./fleet.js";
import { STATES, badge, capitalize, icon, stateOf } from "./states.js";

const PAGE_SIZE = 100;
const TYPING_MS = 250;

/** The address of the view with these filters. */
function address({ search, state, offset }) {
  const query = new URLSearchParams();
  if (search) query.set("search", search);
  if (state) query.set("state", state);
  if (offset > 0) query.set("offset", String(offset));
  const text = query.toString();
  return text === "" ? "#/" : `#/?${text}`;
}

export function sources(app, query) {
  let data = null;
  let typing = 0;
  const filter = { search: "", state: "", offset: 0 };
  applyQuery(query);

  function applyQuery(query) {
    filter.search = query.get("search") ?? "";
    filter.state = query.get("state") ?? "";
    const offset = Number.parseInt(query.get("offset") ?? "0", 10);
    filter.offset = Number.isFinite(offset) && offset > 0 ? offset : 0;
  }

  async function load(signal) {
    const query = new URLSearchParams({ limit: String(PAGE_SIZE), offset: String(filter.offset) });
    if (filter.search) query.set("search", filter.search);
    if (filter.state) query.set("state", filter.state);
    const response = await read(`/api/v1/sources?${query}`, signal);
    setHostTime(response.at);
    data = response;
    if (filter.search || filter.state) announce(`${counted(response.total, "source")} found`);
    // A page that has become too high a number, because sources were removed.
    if (response.total > 0 && filter.offset >= response.total) {
      go({ offset: Math.floor((response.total - 1) / PAGE_SIZE) * PAGE_SIZE });
    }
  }

  function go(part) {
    Object.assign(filter, part);
    app.replace(address(filter));
    return app.refresh();
  }

  const actions = {
    filter: (button) => go({ state: button.dataset.state ?? "", offset: 0 }),
    page: async (button) => {
      await go({ offset: Number(button.dataset.offset) });
      document.getElementById("heading")?.scrollIntoView();
      announce(document.getElementById("range")?.textContent ?? "");
    },
    clear: () => {
      const input = document.getElementById("search");
      input.value = "";
      input.focus();
      return go({ search: "", state: "", offset: 0 });
    },
  };

  function input(target) {
    if (target.id !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(() => go({ search: target.value.trim(), offset: 0 }), TYPING_MS);
  }

  function render() {
    return [
      el("h1", { id: "heading", tabindex: "-1" }, "Collection status"),
      data && fleet(data.fleet),
      data && data.total === 0 && !filter.search && !filter.state && (data.fleet ? noTenants() : noSources()),
      !(data && data.total === 0 && !filter.search && !filter.state) && [
        el(
          "search",
          { class: "filters", role: "search" },
          el(
            "div",
            { class: "field search" },
            el("label", { for: "search" }, "Search"),
            el("input", {
              id: "search",
              type: "search",
              value: filter.search,
              placeholder: "Name of a source",
              autocomplete: "off",
              spellcheck: "false",
            }),
          ),
          data && chips(data, filter),
        ),
        data && (data.sources.length > 0 ? table(data.sources) : nothingFound(filter)),
        data && pages(data, filter),
      ],
    ];
  }

  return {
    nav: "sources",
    title: () => "Collection status",
    refreshes: true,
    load,
    render,
    actions,
    input,
    onQueryChange: (query) => {
      applyQuery(query);
      const input = document.getElementById("search");
      if (input && input.value.trim() !== filter.search) input.value = filter.search;
    },
    stop: () => clearTimeout(typing),
  };
}

function noSources() {
  return el(
    "section",
    { class: "empty" },
    el("h2", {}, "No sources yet"),
    el("p", {}, "A source is a Mimecast tenant whose security events are collected. Add one to begin."),
    el("p", {}, el("a", { class: "button primary", href: "#/add" }, "Add connector")),
  );
}

function noTenants() {
  return el(
    "section",
    { class: "empty" },
    el("h2", {}, "No tenants here yet"),
    el("p", {}, "This host has had no tenant of the fleet since it started. ", el("code", {}, "source-host fleet add"), " adds one."),
  );
}

function nothingFound(filter) {
  const conditions = [
    filter.search && `the name contains “${filter.search}”`,
    filter.state && `the state is ${filter.state}`,
  ].filter(Boolean);
  return el(
    "section",
    { class: "empty" },
    el("p", {}, `There is no source where ${conditions.join(" and ")}.`),
    el("p", {}, el("button", { type: "button", "data-action": "clear" }, "Show all sources")),
  );
}

/** The number of sources by state; each is a button that shows only those. */
function chips(data, filter) {
  const all = Object.values(data.states).reduce((sum, value) => sum + value, 0);
  const shown = STATES.filter(({ name }) => data.states[name] > 0 || name === filter.state);
  return el(
    "div",
    { class: "chips", role: "group", "aria-label": "Show by state" },
    chip("", el("span", {}, "All"), all, filter, "calm"),
    shown.map(({ name, tone, icon: shape }) =>
      chip(name, [icon(shape), el("span", {}, capitalize(name))], data.states[name] ?? 0, filter, tone),
    ),
  );
}

function chip(state, label, count, filter, tone) {
  return el(
    "button",
    {
      type: "button",
      class: `chip ${tone}`,
      "data-key": `chip-${state}`,
      "data-action": "filter",
      "data-state": state,
      "aria-pressed": String(filter.state === state),
      title: stateOf(state).means || null,
    },
    label,
    " ",
    el("b", {}, number(count)),
  );
}

/** The sum of a count over the streams, where the row does not have it itself. */
export function sum(source, name) {
  if (typeof source[name] === "number") return source[name];
  const values = Object.values(source.streams ?? {}).map((stream) => stream[name]);
  return values.some((value) => typeof value === "number") ? values.reduce((a, b) => a + (b ?? 0), 0) : null;
}

/**
 * A table that scrolls sideways within itself. `more` is a text below the row, over its whole width.
 */
// `display: block` on a narrow screen takes the meaning of table elements
// away in some browsers, so that the roles are written out.
export function tableOf(label, columns, rows) {
  return el(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": `${label}: table` },
    el(
      "table",
      { role: "table", "aria-label": label },
      el(
        "thead",
        { role: "rowgroup" },
        el(
          "tr",
          { role: "row" },
          columns.map(({ title, numeric }) =>
            el("th", { role: "columnheader", scope: "col", class: numeric ? "numeric" : null }, title),
          ),
        ),
      ),
      el(
        "tbody",
        { role: "rowgroup" },
        rows.map(({ key, tone, cells, more }) => [
          el(
            "tr",
            { role: "row", "data-key": key, class: tone ? `row-${tone}` : null },
            cells.map((cell, index) =>
              el(
                index === 0 ? "th" : "td",
                {
                  role: index === 0 ? "rowheader" : "cell",
                  scope: index === 0 ? "row" : null,
                  class: [columns[index].numeric && "numeric", columns[index].class].filter(Boolean).join(" ") || null,
                  "data-label": columns[index].title,
                },
                cell,
              ),
            ),
          ),
          more &&
            el(
              "tr",
              { role: "row", "data-key": `${key}/more`, class: tone ? `more row-${tone}` : "more" },
              el("td", { role: "cell", colspan: columns.length }, el("div", {}, more)),
            ),
        ]),
      ),
    ),
  );
}

const COLUMNS = [
  { title: "Source" },
  { title: "State" },
  { title: "Lag", numeric: true },
  { title: "Last success", numeric: true },
  { title: "Events", numeric: true },
  { title: "Rejected", numeric: true },
  { title: "Gaps", numeric: true },
];

function table(rows) {
  return tableOf(
    "Sources",
    COLUMNS,
    rows.map((source) => ({
      key: source.source,
      tone: stateOf(source.state).tone,
      cells: [
        el("a", { href: `#/source/${encodeURIComponent(source.source)}` }, source.source),
        [badge(source.state), source.stale && el("span", { class: "tag" }, "stale")],
        duration(source.lag_seconds),
        relative(source.last_success_at),
        number(sum(source, "events")),
        number(sum(source, "rejected")),
        number(sum(source, "gaps")),
      ],
      more: remark(source),
    })),
  );
}

/** The error of the settings, the reason of the state, or the last error. */
function remark(source) {
  if (source.settings_error) return el("span", { class: "clip" }, `Settings: ${source.settings_error}`);
  const error = source.last_error;
  const text = stateOf(source.state).tone === "good" ? error?.detail : source.detail || error?.detail;
  if (!text) return null;
  return el("span", { class: "clip", title: text }, error?.at && [el("span", { class: "quiet" }, relative(error.at)), ": "], text);
}

function pages({ total, offset, sources }, { offset: wanted }) {
  if (total === 0) return null;
  const first = (offset ?? wanted) + 1;
  const last = first + sources.length - 1;
  const page = Math.floor((first - 1) / PAGE_SIZE);
  const count = Math.ceil(total / PAGE_SIZE);
  const step = (name, target) =>
    el(
      "button",
      {
        type: "button",
        "data-action": "page",
        "data-offset": String(Math.min(Math.max(target, 0), count - 1) * PAGE_SIZE),
        disabled: target < 0 || target >= count || target === page,
      },
      name,
    );
  return el(
    "nav",
    { class: "pages", "aria-label": "Pages" },
    el("p", { id: "range" }, `${number(first)}–${number(last)} of ${counted(total, "source")}`),
    count > 1 &&
      el(
        "div",
        {},
        step("First", 0),
        step("Previous", page - 1),
        el("span", { class: "quiet" }, `page ${number(page + 1)} of ${number(count)}`),
        step("Next", page + 1),
        step("Last", count - 1),
      ),
  );
}
