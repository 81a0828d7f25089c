// Runs a component until it is caught up and prints its events:
//
//     node embed.js COMPONENT STATE_DIR [ORIGIN ..] < settings.json
//
// The settings are the JSON object that the component gets; it may reach the origins that it
// describes, those in its settings, and those named here. docs/embedding.md has the rules that this
// program follows.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { pathToFileURL } from "node:url";

import { transpileBytes } from "@bytecodealliance/jco-transpile";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";

const LIMITS = { maxEvents: 1000, maxBytes: 4_000_000n, maxRequests: 100 };

const [component, stateDir, ...origins] = process.argv.slice(2);
if (!stateDir) {
  console.error("usage: node embed.js COMPONENT STATE_DIR [ORIGIN ..] < settings.json");
  process.exit(2);
}
const allowed = origins.map(parseOrigin);
await mkdir(stateDir, { recursive: true });
const settings = JSON.parse(readFileSync(0, "utf8"));
settings.tenant ??= "embedded"; // the contract: the host names the source where the settings do not

const { source } = await load(component, (origin) => isAllowed(origin));
const description = source.describe();
allowed.push(...description.origins.map(parseOrigin));
const { properties } = JSON.parse(description.settingsSchema);
for (const [name, property] of Object.entries(properties)) {
  // One that is no URL is left to the component, which checks its settings.
  if (property.format === "origin" && URL.canParse(settings[name])) {
    allowed.push(parseOrigin(new URL(settings[name]).origin));
  }
}

try {
  await collect(JSON.stringify(settings));
} catch (error) {
  // What the component reports has no secret in it; an unexpected error is shown without its values.
  const failure = error.payload ?? error;
  console.error(`error: ${failure.tag ? `${failure.tag}: ${text(failure.val)}` : error.stack}`);
  process.exit(failure.tag === "unauthorized" ? 77 : failure.tag === "settings" ? 78 : 1);
}
process.exit(0);

async function collect(settings) {
  const path = join(stateDir, "checkpoint");
  let checkpoint = readIfExists(path);
  let session; // a secret: only in memory, never stored, logged or shown
  for (;;) {
    const batch = source.poll(settings, checkpoint, session, LIMITS);
    for (const { stream, received, events, rejected, duplicates } of batch.stats) {
      if (received !== events + rejected + duplicates) {
        throw new Error(`${stream}: records are missing from the counts of the component`);
      }
    }
    for (const { stream, kind, detail } of batch.notices) {
      console.error(`${stream}: ${kind}: ${printable(detail)}`);
    }
    // Everything is delivered before the checkpoint is stored. Killed in between, the next
    // run delivers the batch again, with the same ids.
    appendDurably(join(stateDir, "rejected.ndjson"), batch.rejected.map(rejectedLine).join(""));
    writeAll(1, batch.events);
    if (batch.checkpoint !== checkpoint) {
      checkpoint = batch.checkpoint;
      replaceDurably(path, checkpoint);
    }
    session = batch.session;
    if (batch.next.tag === "caught-up") {
      return;
    }
    if (batch.next.tag !== "now") {
      console.error(`${batch.next.tag}: the next poll is in ${batch.next.val} ms`);
      await wait(Number(batch.next.val));
    }
  }
}

// Ends the program where the text is not an origin: no request would ever match it.
function parseOrigin(text) {
  const [, scheme, wildcard, authority] = /^(https?):\/\/(\*\.)?([^\s/\\?#@*]+)$/i.exec(text) ?? [];
  if (!scheme || !URL.canParse(`${scheme}://${authority}`)) {
    console.error(`error: ${JSON.stringify(text)} is not an origin; write https://HOST or https://HOST:PORT, ` +
      "without a path or a slash at the end; `*.` before HOST allows its subdomains");
    process.exit(2);
  }
  const { protocol, hostname, port } = new URL(`${scheme}://${authority}`);
  return { protocol, hostname, port, isWildcard: wildcard !== undefined };
}

function isAllowed(origin) {
  const { protocol, hostname, port } = new URL(origin);
  return allowed.some((entry) => {
    const isHost = entry.isWildcard ? hostname.endsWith(`.${entry.hostname}`) : hostname === entry.hostname;
    return isHost && protocol === entry.protocol && port === entry.port;
  });
}

// Creates an instance whose requests `isPermitted` checks first.
async function load(path, isPermitted) {
  // Generated code resolves its imports relative to itself, so it is stored beside this program.
  const wasm = await readFile(path);
  const digest = createHash("sha256").update(wasm).digest("hex").slice(0, 16);
  const directory = join(import.meta.dirname ?? dirname(process.argv[1]), "node_modules", `.component-${digest}`);
  const { files } = await transpileBytes(wasm, { name: "component", instantiation: "async" });
  for (const [name, bytes] of Object.entries(files)) {
    const file = resolve(directory, name);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
  }
  // No files, environment variables or sockets, only HTTP.
  const imports = new WASIShim({ sandbox: { preopens: {}, env: {}, args: ["component"] } }).getImportObject();
  for (const [name, handler] of Object.entries(imports)) {
    if (name.startsWith("wasi:http/outgoing-handler")) {
      imports[name] = {
        handle(request, options) {
          // Any other scheme is refused: the shim would send its request in plain text.
          const scheme = { HTTP: "http", HTTPS: "https" }[request.scheme()?.tag];
          if (scheme && isPermitted(`${scheme}://${request.authority()}`)) {
            return handler.handle(request, options);
          }
          throw Object.assign(new Error("denied"), { payload: { tag: "HTTP-request-denied" } });
        },
      };
    }
  }
  const { instantiate } = await import(pathToFileURL(resolve(directory, "component.js")));
  return instantiate(async (name) => WebAssembly.compile(await readFile(join(directory, name))), imports);
}

function rejectedLine({ stream, locator, reason, original }) {
  return `${JSON.stringify({ stream, locator, reason, original: Buffer.from(original).toString("base64") })}\n`;
}

// Replaces control characters, so that untrusted text cannot control a terminal.
function printable(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");
}

function text(value) {
  return printable(typeof value === "string" ? value : (value?.detail ?? JSON.stringify(value)));
}

function readIfExists(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") {
      return undefined;
    }
    throw error;
  }
}

// Replaces a file atomically: after a crash there is the old one or the new one.
function replaceDurably(path, text) {
  const file = openSync(`${path}.new`, "w", 0o600);
  writeAll(file, text);
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.new`, path);
  const directory = openSync(dirname(path), "r");
  fsyncSync(directory);
  closeSync(directory);
}

function appendDurably(path, lines) {
  if (lines) {
    const file = openSync(path, "a", 0o600);
    writeAll(file, lines);
    fsyncSync(file);
    closeSync(file);
  }
}

function writeAll(file, text) {
  let bytes = Buffer.from(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(file, bytes));
    } catch (error) {
      if (error.code !== "EAGAIN") {
        throw error;
      }
    }
  }
}
