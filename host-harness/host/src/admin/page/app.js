// The frame of the page: which view is shown, when it is refreshed, and
// whether the host answers.

import { Refused, Unreachable, forgetToken, onTokenNeeded } from "./api.js";
import { askForToken } from "./dialogs.js";
import { announce, el, update } from "./dom.js";
import { duration } from "./format.js";
import { form } from "./form.js";
import { outputs } from "./outputs.js";
import { source } from "./source.js";
import { sources } from "./sources.js";

const REFRESH_MS = 5_000;

const main = document.getElementById("main");
const connection = document.getElementById("connection");

let view = null;
let currentPath = "";
let timer = 0;
let refreshController = null;
let hasLoaded = false;
let lastResponseAt = null;
let failure = null;

/** What views may do with the frame. */
const app = {
  show,
  refresh,
  go: (address) => {
    if (location.hash === address) route();
    else location.hash = address;
  },
  /** Another address of the same view, without an entry in the history. */
  replace: (address) => history.replaceState(null, "", address),
};

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name = "", ...rest] = path.split("/").map(decode);
  return { name, rest, query: new URLSearchParams(query) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function open({ name, rest, query }) {
  if (name === "source" && rest[0]) return source(app, rest[0], query);
  if (name === "edit" && rest[0]) return form(app, rest[0]);
  if (name === "add") return form(app);
  if (name === "outputs") return outputs(app);
  return sources(app, query);
}

async function route() {
  const to = parse(location.hash);
  const next = [to.name, ...to.rest].join("/");
  if (view?.onQueryChange && next === currentPath) {
    view.onQueryChange(to.query);
    await refresh();
    return;
  }
  const isFirst = view === null;
  view?.stop?.();
  currentPath = next;
  view = open(to);
  hasLoaded = false;
  failure = null;
  // One-time words like "saved" do not stay in the address.
  if (to.query.has("saved") || to.query.has("check")) app.replace(location.hash.split("?")[0]);
  const opened = view;
  main.replaceChildren();
  show();
  window.scrollTo(0, 0);
  // A screen reader continues at the heading of the new view.
  if (!isFirst) document.getElementById("heading")?.focus({ preventScroll: true });
  await refresh();
  if (view === opened) view.start?.();
}

function show() {
  update(main, banner(), ...[view.render()].flat(Infinity), !hasLoaded && failure === null && el("p", { class: "quiet" }, "Loading…"));
  document.title = `${view.title()} – source-host`;
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === view.nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view.afterRender?.();
  showConnection();
}

function banner() {
  if (failure === null) return null;
  const needsToken = failure instanceof Refused && failure.status === 401;
  return el(
    "div",
    { class: "notice bad", id: "failure", "data-key": "failure", role: "alert" },
    el(
      "div",
      {},
      el("p", {}, el("b", {}, failure instanceof Unreachable ? "Connection lost. " : ""), failure.message),
      failure instanceof Unreachable && el("p", {}, hasLoaded ? "What is shown below is out of date. Retrying every few seconds." : "Retrying every few seconds. Is source-host running?"),
    ),
    needsToken && el("button", { type: "button", "data-action": "token" }, "Enter the token"),
  );
}

function showConnection() {
  const age = lastResponseAt === null ? null : (Date.now() - lastResponseAt) / 1000;
  const isLost = failure instanceof Unreachable;
  const text = isLost
    ? age === null ? "Not connected" : `Connection lost: data is ${duration(age)} old`
    : lastResponseAt === null || !view.refreshes ? "" : document.hidden ? "Updates paused" : "Live";
  if (connection.textContent !== text) connection.textContent = text;
  connection.className = `connection ${isLost ? "bad" : "good"}`;
}

/** Reads what the view shows, and shows it. A refresh that runs is replaced. */
async function refresh() {
  clearTimeout(timer);
  refreshController?.abort();
  const mine = new AbortController();
  refreshController = mine;
  const current = view;
  try {
    await current.load(mine.signal);
    if (mine.signal.aborted || current !== view) return;
    if (failure instanceof Unreachable) announce("Connected again.");
    failure = null;
    hasLoaded = true;
    lastResponseAt = Date.now();
  } catch (error) {
    if (mine.signal.aborted || current !== view) return;
    if (!(error instanceof Refused || error instanceof Unreachable)) console.error(error);
    failure = error;
  }
  show();
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (document.hidden || (!view.refreshes && hasLoaded)) return;
  timer = setTimeout(refresh, REFRESH_MS);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    showConnection();
  } else if (view.refreshes || !hasLoaded) {
    void refresh();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (!button || button.disabled || button.getAttribute("aria-disabled") === "true") return;
  const name = button.dataset.action;
  if (name === "token") {
    forgetToken();
    void refresh();
    return;
  }
  void view.actions[name]?.(button);
});

document.addEventListener("input", (event) => view.input?.(event.target));
window.addEventListener("hashchange", route);
window.addEventListener("resize", () => view.afterRender?.());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
setInterval(showConnection, 1000);
onTokenNeeded(askForToken);
void route();
