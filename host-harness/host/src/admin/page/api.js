// The JSON API. The token is asked for when the host wants one, and kept for
// this browser tab only.

const KEY = "source-host.token";

/** The host answered, and refused. */
export class Refused extends Error {
  constructor(status, messages) {
    super(messages.join("\n"));
    this.status = status;
    this.messages = messages;
  }
}

/** No response came. */
export class Unreachable extends Error {}

let askForToken = async () => null;
let asking = null;
let isDeclined = false;

/** `ask(message)` resolves with a token, or null where the user cancels. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** The next refused request asks for the token again, also where the user cancelled before. */
export function forgetToken() {
  sessionStorage.removeItem(KEY);
  isDeclined = false;
}

/** Reads, as part of a refresh: a user who has cancelled is not asked for the token again. */
export function read(path, signal) {
  return call("GET", path, { signal, isBackground: true });
}

/** Sends a request and returns its JSON. Asks for the token where it is needed. */
export async function call(method, path, { body, headers = {}, signal, timeoutSeconds = 20, isBackground = false } = {}) {
  for (;;) {
    const used = sessionStorage.getItem(KEY);
    const response = await send(method, path, { body, headers, signal, timeoutSeconds, token: used });
    if (response.status !== 401) {
      if (response.ok) return response.body;
      throw new Refused(response.status, messages(response));
    }
    // Another request may have brought a new token meanwhile.
    if (sessionStorage.getItem(KEY) !== used) continue;
    if (isBackground && isDeclined) throw new Refused(401, ["The token is needed to read this."]);
    const message = used === null ? "" : "This token is not accepted.";
    asking ??= askForToken(message).finally(() => {
      asking = null;
    });
    const token = await asking;
    isDeclined = token === null;
    if (token === null) throw new Refused(401, ["The token is needed for this. It is in the file that [admin] token names."]);
    sessionStorage.setItem(KEY, token);
  }
}

async function send(method, path, { body, headers, signal, timeoutSeconds, token }) {
  const timeout = AbortSignal.timeout(timeoutSeconds * 1000);
  const all = { Accept: "application/json", ...headers };
  if (token !== null) all.Authorization = `Bearer ${token}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers: all,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(timeout.aborted ? `No response within ${timeoutSeconds} s.` : "The host does not answer.");
  }
  return { status: response.status, ok: response.ok, body: parse(text) };
}

function parse(text) {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return { error: text.slice(0, 500) };
  }
}

function messages({ status, body }) {
  if (Array.isArray(body?.errors) && body.errors.length > 0) return body.errors.map(String);
  if (body?.error) return [String(body.error)];
  return [`The host answered ${status}.`];
}

/** The path of a source, or of something below it. */
export function sourcePath(name, rest = "") {
  return `/api/v1/sources/${encodeURIComponent(name)}${rest}`;
}
