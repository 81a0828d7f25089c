// A host for the status page that holds its sources in memory: it serves the files of the page as
// the admin server does, with the same content security policy, and answers the JSON API from what
// a test sets. Started by itself it shows 10,000 sources:
//
//     node tests/page/mock.js [PORT]

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const FILES = new URL("../../host-harness/host/src/admin/page/", import.meta.url);
const TYPES = { css: "text/css", html: "text/html", js: "text/javascript", svg: "image/svg+xml" };

export const SIEM_PERMISSION = "Security Events and Data Retrieval | Threat and Security Events (SIEM) | Read";
const SIEM_PRODUCT = "Threats, Security Events and Data for CG";

const SIEM = ["receipt", "process", "delivery", "av", "spam", "internal-email-protect", "impersonation-protect", "url-protect", "attachment-protect", "journal"];
const STREAMS = [
  ...SIEM.map((kind) => ({ name: `siem.${kind}`, summary: `Events of the kind ${kind}.`, permission: SIEM_PERMISSION, product: SIEM_PRODUCT, endpoint: "/siem/v1/batch/events/cg" })),
  { name: "audit", summary: "What administrators and users changed, and who logged on.", permission: "Account | Logs | Read", product: "Audit Events", endpoint: "/api/audit/get-audit-events" },
  { name: "dlp", summary: "Messages that a data leak prevention policy acted on.", permission: "Monitoring | Data Leak Prevention | Read", product: "Security Events", endpoint: "/api/dlp/get-logs" },
  { name: "held-messages", summary: "Messages that are held now.", permission: "Account | Dashboard | Read", product: "Cloud Gateway", endpoint: "/api/gateway/get-hold-message-list" },
  { name: "siem", summary: "API 1.0: log files of all SIEM types.", permission: "Gateway | Tracking | Read", product: "an API 1.0 application", endpoint: "/api/audit/get-siem-logs" },
];
const SECRETS = ["client_secret", "app_key", "access_key", "secret_key"];
const API_1_SETTINGS = ["app_id", "app_key", "access_key", "secret_key", "account_code", "email", "discovery_url", "siem_file_format", "siem_compress"];
const API_2_SETTINGS = ["client_id", "client_secret", "siem_endpoint", "siem_calls_per_15_min"];

const MINUTE = 60_000;
const time = (at) => new Date(at).toISOString();

/** The sources of the mock and what it does with requests. */
export class MockHost {
  /** With a token, every request needs it. */
  token = null;
  isDown = false;
  /** Returns the result of `POST …/check` for a source: `successful`, `rows` for its streams, and perhaps `detail`. */
  check = () => ({ successful: true, rows: [] });
  requests = [];
  sources = new Map();
  /** What the API has as `fleet`, where the host is part of one. */
  fleet = null;
  outputs = [
    { output: "siem", type: "file", state: "active", detail: "", last_success_at: null, retries: 0, blocked_seconds: 0, events: 812_334, batches: 20_412, backlog_sources: 0 },
    { output: "splunk", type: "splunk", state: "blocked", detail: "cannot deliver to https://splunk.example.com:8088: connection refused; retry in 32 s (attempt 14)", last_success_at: null, retries: 14, blocked_seconds: 734, events: 411_020, batches: 9_120, backlog_sources: 37 },
  ];

  add(name, { state = "active", body = { enabled: true, settings: { client_id: "id", format: "ecs" } }, secrets = ["client_secret"], editable = true, ...rest } = {}) {
    const seed = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
    this.sources.set(name, { name, state, body, secrets, editable, seed, ...rest });
  }

  /** Sources as a provider has them: most are fine. */
  fill(count) {
    for (let index = 0; index < count; index += 1) {
      const name = `tenant-${String(index).padStart(5, "0")}`;
      const state = index % 997 === 3 ? "unauthorized" : index % 499 === 5 ? "failing" : index % 271 === 7 ? "blocked"
        : index % 333 === 9 ? "not-permitted" : index % 101 === 11 ? "waiting" : index % 211 === 13 ? "paused" : index % 401 === 15 ? "starting" : "active";
      this.add(name, { state });
    }
  }

  report({ name, state, seed, body, waits = [], paused_by: pausedBy }, hasStreams) {
    const now = Date.now();
    const isLate = ["failing", "unauthorized", "blocked", "stopped"].includes(state);
    const lag = isLate ? 5_000 + (seed % 9_000) : 20 + (seed % 200);
    const error = {
      failing: { kind: "unavailable", detail: `https://api.services.mimecast.com answered 503 (request id r-${seed % 1000}); it is tried again with growing waits` },
      unauthorized: { kind: "unauthorized", detail: "the token was refused with 401 InvalidClientIdentifier (request id r-7); check client_id and client_secret" },
      "not-permitted": { kind: "not-permitted", detail: `siem.receipt answered 403 app_forbidden; grant ${SIEM_PERMISSION} (product: ${SIEM_PRODUCT})` },
    }[state];
    const lastError = error ? { at: time(now - 40_000), ...error } : null;
    const chosen = STREAMS.filter((stream) => (body.settings.api === "1.0" ? stream.endpoint === "/api/audit/get-siem-logs" || stream.name === "audit" : stream.name !== "siem"));
    const streams = Object.fromEntries(chosen.map(({ name: stream }, index) => {
      const events = state === "starting" ? 0 : ((seed >>> index) % 90_000) + 100;
      const isMissing = state === "not-permitted" && stream.startsWith("siem");
      return [stream, {
        state: state === "not-permitted" && !isMissing ? "active" : state, detail: "", until: state === "waiting" ? time(now + 58_000) : null,
        collected_until: time(now - lag * 1000 - index * 700), lag_seconds: lag + index, newest_at: time(now - lag * 1000), received: events + (index % 3), events,
        rejected: index % 3 === 1 ? 1 : 0, duplicates: index % 3 === 2 ? 2 : 0, requests: 300 + index, received_bytes: events * 700, gaps: 0, quota_remaining: null,
        last_error: isMissing || state !== "not-permitted" ? lastError : null, last_notice: null,
      }];
    }));
    const sum = (member) => Object.values(streams).reduce((total, stream) => total + stream[member], 0);
    return {
      source: name, state, detail: state === "blocked" ? "the output splunk does not accept events: connection refused" : error?.detail ?? "", waits, stale: false, paused_by: state === "paused" ? (pausedBy ?? "api") : null,
      component: "mimecast 0.2.0", outputs: body.outputs ?? ["siem", "splunk"], has_checkpoint: state !== "starting", checkpoint_bytes: 4_211, stored_at: time(now - 9_000),
      last_poll_at: time(now - 9_000), last_success_at: state === "starting" ? null : time(now - (isLate ? lag * 1000 : 9_000)), next_poll_at: state === "paused" ? null : time(now + 51_000),
      lag_seconds: lag, memory_bytes_peak: 21_000_000, undeliverable: 0, settings_error: null, last_error: lastError,
      ...(hasStreams ? { streams } : { received: sum("received"), events: sum("events"), rejected: sum("rejected"), duplicates: sum("duplicates"), gaps: sum("gaps") }),
    };
  }

  list(query) {
    const search = (query.get("search") ?? "").toLowerCase();
    const state = query.get("state") ?? "";
    const offset = Number(query.get("offset") ?? "0");
    const limit = Number(query.get("limit") ?? "100");
    const found = [...this.sources.values()].filter(({ name }) => name.toLowerCase().includes(search)).sort((a, b) => (a.name < b.name ? -1 : 1));
    const states = {};
    for (const source of found) states[source.state] = (states[source.state] ?? 0) + 1;
    const wanted = found.filter((source) => state === "" || source.state === state);
    const outputs = this.outputs.map((output) => ({ ...output, last_success_at: time(Date.now() - (output.state === "active" ? 3_000 : 734_000)) }));
    return {
      at: time(Date.now()), host: { running: true, pid: 4711, version: "0.2.0", started_at: time(Date.now() - 86_400_000), last_seen: time(Date.now()), ready: true },
      outputs, total: wanted.length, states, offset, limit, sources: wanted.slice(offset, offset + limit).map((source) => this.report(source, false)),
      ...(this.fleet && { fleet: this.fleet }),
    };
  }

  history({ seed, state }) {
    const now = Math.floor(Date.now() / MINUTE) * MINUTE;
    const points = [];
    for (let back = 240; back >= 0; back -= 1) {
      const wave = 1 + Math.sin((back + (seed % 60)) / 23);
      const isDown = back > 80 && back < 118;
      points.push({
        at: time(now - back * MINUTE),
        events: isDown ? 0 : Math.round(80 * wave + ((seed >>> (back % 16)) % 37) + (back > 112 - 40 && back <= 80 ? 260 : 0)),
        lag_seconds: isDown ? (118 - back) * 60 : back <= 80 && back > 72 ? (back - 72) * 200 : state === "failing" ? 900 - back : 20 + (back % 9),
      });
    }
    return { points };
  }

  /** A status and a body, or undefined for 404. */
  answer(method, path, query, headers, body) {
    if (path === "/api/v1/describe") return [200, { name: "mimecast-source", version: "0.2.0", formats: ["ecs", "ocsf", "raw"], streams: STREAMS, origins: ["https://api.services.mimecast.com", "https://*.services.mimecast.com", "https://eu-api.mimecast.com", "https://us-api.mimecast.com"] }];
    if (path === "/api/v1/sources") return [200, this.list(query)];
    const match = /^\/api\/v1\/sources\/([^/]+)(?:\/([a-z]+))?$/.exec(path);
    if (!match) return undefined;
    const name = decodeURIComponent(match[1]);
    const source = this.sources.get(name);
    const action = `${method} ${match[2] ?? ""}`.trim();
    if (action === "PUT") {
      if (source && headers["if-none-match"] === "*") return [409, { error: `there is a source "${name}" already; choose another name, or edit that source` }];
      if (this.fleet) return [409, { error: "the tenants of a fleet are changed with `source-host fleet`: add, change, pause, resume and remove" }];
      const settings = { ...body.settings };
      if (settings.client_id === "refused") return [422, { errors: ["client_id: is refused by this test", "start: `yesterday` is not a duration"] }];
      // A secret that is left out is kept, and `null` removes a setting.
      const secrets = new Set(source?.secrets);
      const secretValues = { ...source?.secretValues };
      for (const [key, value] of Object.entries(settings)) {
        if (value !== null && !SECRETS.includes(key)) continue;
        delete settings[key];
        delete secretValues[key];
        secrets.delete(key);
        if (value === null) continue;
        secretValues[key] = value;
        secrets.add(key);
      }
      const unknown = body.outputs?.find((output) => output === "dead_letter" || !this.outputs.some((one) => one.output === output));
      if (unknown) return [422, { errors: [`there is no output \`${unknown}\``] }];
      const [others, version] = settings.api === "1.0" ? [API_2_SETTINGS, "2.0"] : [API_1_SETTINGS, "1.0"];
      const other = [...Object.keys(settings), ...secrets].find((key) => others.includes(key));
      if (other) return [422, { errors: [`\`${other}\`: belongs to API ${version}; remove it, or set api = "${version}"`] }];
      this.add(name, { state: "active", body: { ...body, settings }, secrets: [...secrets], secretValues });
      return [200, {}];
    }
    if (!source) return undefined;
    switch (action) {
      case "GET": return [200, this.report(source, true)];
      case "GET history": return [200, this.history(source)];
      case "GET settings": return [200, source.editable
        ? { editable: true, source: source.body, secrets: source.secrets }
        : { editable: false, reason: "This source is in host.toml: change it there." }];
      case "POST pause": source.state = "paused"; return [200, {}];
      case "POST resume": source.state = "active"; return [200, {}];
      case "POST reset": source.reset = body; return [200, {}];
      case "POST check": {
        const { successful, rows, detail } = this.check(source);
        return [200, { source: name, at: time(Date.now()), successful, detail: detail ?? "", seconds: 0.4, account: "CUSA1A1", clock_skew_ms: 120, streams: rows }];
      }
      case "DELETE": this.sources.delete(name); return [200, {}];
      default: return undefined;
    }
  }
}

async function policy() {
  const text = await readFile(new URL("mod.rs", FILES), "utf8");
  const [, value] = /CONTENT_SECURITY_POLICY: &str = "((?:[^"\\]|\\\n)*)"/.exec(text);
  return value.replace(/\\\n\s*/g, "");
}

/** Serves a mock host; resolves with the address and `close`. */
export async function serve(mock, port = 0) {
  const csp = await policy();
  const server = createServer((request, response) => {
    void handle(mock, csp, request, response).catch((error) => {
      response.writeHead(500).end(String(error));
    });
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close(); } };
}

async function handle(mock, csp, request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (mock.isDown) {
    request.socket.destroy();
    return;
  }
  if (!pathname.startsWith("/api/")) {
    const name = pathname === "/" ? "index.html" : /^\/assets\/([a-z]+\.(?:css|js|svg))$/.exec(pathname)?.[1];
    if (!name) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[name.split(".")[1]];
    response.writeHead(200, { "content-type": type === "image/svg+xml" ? type : `${type}; charset=utf-8`, "content-security-policy": csp, "x-content-type-options": "nosniff" });
    response.end(await readFile(new URL(name, FILES)));
    return;
  }
  let text = "";
  for await (const part of request) text += part;
  const body = text === "" ? null : JSON.parse(text);
  mock.requests.push({ method: request.method, path: pathname, query: searchParams.toString(), body, text });
  const json = (status, value) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  if (mock.token !== null && request.headers.authorization !== `Bearer ${mock.token}`) {
    json(401, { error: "the token is missing or wrong" });
    return;
  }
  const [status, value] = mock.answer(request.method, pathname, searchParams, request.headers, body) ?? [404, { error: `there is no ${pathname}` }];
  json(status, value);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = new MockHost();
  mock.fill(10_000);
  const { origin } = await serve(mock, Number(process.argv[2] ?? 9600));
  console.log(origin);
}
