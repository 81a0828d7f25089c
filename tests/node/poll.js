// The built component under Node: every event of a simulated tenant comes out once, through one
// instance as through a fresh instance per call.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

import { transpileBytes } from "@bytecodealliance/jco-transpile";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";

// The simulated tenant. Files are listed twice, keys come in any order, and some lines are no
// records; none of that changes how many events are expected.
const TENANT = { types: 3, pages: 2, files: 2, records: 300, audit: 400 };
const EXPECTED = TENANT.types * TENANT.pages * TENANT.files * TENANT.records + TENANT.audit;
const TYPES = "receipt,process,url protect";
const STREAMS = ["siem.receipt", "siem.process", "siem.url-protect", "audit"];

// Small, so that a position in the middle of a file is resumed from many times.
const LIMITS = { maxEvents: 250, maxBytes: 1_000_000n, maxRequests: 50 };
const POLLS_MAX = 200;
const CHECKPOINT_BYTES_MAX = 768 * 1024;
const SESSION_BYTES_MAX = 16 * 1024;
const HOUR_MS = 3_600_000;

const [wasm, simulatorPath, work] = process.argv.slice(2);
const instantiate = await load(wasm, work);
const simulator = await startSimulator(simulatorPath);
try {
  const settings = JSON.stringify({
    base_url: simulator.api_url,
    client_id: simulator.client_id,
    client_secret: simulator.client_secret,
    streams: STREAMS,
    start: "48h",
    siem_calls_per_15_min: 10_000,
    tenant: "acme",
  });
  const { source } = await instantiate();
  assertDescribes(source.describe());
  assertChecks(source.check(settings));
  assertRefuses(source);

  const one = await collect("one instance", settings, async () => source);
  const fresh = await collect("an instance per call", settings, async () => (await instantiate()).source);

  // A line that is JSON but not valid UTF-8 is repaired, and becomes an event that EXPECTED does not count.
  assert.ok(one.repaired > 0, "no line was repaired");
  assert.equal(one.events - one.repaired, EXPECTED, "the number of events");
  assert.ok(one.rejected > 0, "no line was rejected");
  assert.deepEqual(withoutCollectionTime(fresh.lines), withoutCollectionTime(one.lines), "another instance, other events");
  assertRewinds((await instantiate()).source, settings, one.checkpoint);
  assertNormalizes((await instantiate()).normalizer);
} finally {
  simulator.stop();
}

// Transpiles the component once; the result makes an instance of it.
async function load(path, directory) {
  const { files } = await transpileBytes(await readFile(path), {
    name: "component",
    instantiation: "async",
  });
  for (const [name, bytes] of Object.entries(files)) {
    const file = resolve(directory, name);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
  }
  const { instantiate } = await import(pathToFileURL(join(resolve(directory), "component.js")));
  const modules = new Map();
  const compiled = async (name) => {
    if (!modules.has(name)) {
      modules.set(name, await WebAssembly.compile(await readFile(join(directory, name))));
    }
    return modules.get(name);
  };
  return () => instantiate(compiled, new WASIShim().getImportObject());
}

async function startSimulator(path) {
  const flags = {
    types: TYPES,
    pages: TENANT.pages,
    "files-per-page": TENANT.files,
    "records-per-file": TENANT.records,
    "audit-events": TENANT.audit,
    "malformed-per-mille": 5,
    "quota-calls": 10_000,
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(path, args, { stdio: ["pipe", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    return { ...JSON.parse(line), stop: () => child.stdin.end() };
  }
  throw new Error("the simulator exited before printing its address");
}

// The events without the time of their collection.
function withoutCollectionTime(lines) {
  return JSON.parse(JSON.stringify(lines).replaceAll(/\\"created\\":\\"[^"]*",/g, ""));
}

function assertDescribes(description) {
  assert.equal(description.name, "mimecast-source");
  assert.equal(description.namespace, "mimecast");
  assert.match(description.version, /^\d+\.\d+\.\d+/);
  const schema = JSON.parse(description.settingsSchema);
  assert.equal(schema.properties.client_secret.writeOnly, true);
  const names = description.streams.map((stream) => stream.name);
  for (const name of STREAMS) {
    assert.ok(names.includes(name), name);
  }
}

function assertChecks(results) {
  assert.deepEqual(
    results.map((result) => [result.stream, result.outcome.tag]).sort(),
    STREAMS.map((stream) => [stream, "readable"]).sort(),
  );
}

function assertRefuses(source) {
  assert.throws(
    () => source.poll("{}", undefined, undefined, LIMITS),
    (error) => error.tag === "settings" && error.val.setting === "client_id",
  );
}

// Polls from checkpoint to checkpoint until every stream is caught up.
async function collect(what, settings, instance) {
  const started = performance.now();
  const total = { events: 0, repaired: 0, rejected: 0, duplicates: 0, lines: {} };
  let checkpoint;
  let session;
  for (let polls = 1; polls <= POLLS_MAX; polls += 1) {
    const batch = (await instance()).poll(settings, checkpoint, session, LIMITS);
    add(total, batch);
    checkpoint = batch.checkpoint;
    session = batch.session;
    assert.ok(Buffer.byteLength(checkpoint) <= CHECKPOINT_BYTES_MAX, "the checkpoint is too long");
    assert.ok(Buffer.byteLength(session) <= SESSION_BYTES_MAX, "the session is too long");
    const states = batch.status.map(({ stream, state }) => [stream, state]).sort();
    assert.deepEqual(states, STREAMS.map((stream) => [stream, "active"]).sort());
    if (batch.next.tag === "caught-up") {
      const ms = Math.round(performance.now() - started);
      console.log(
        `${what}: ${total.events} events, ${total.rejected} rejected, ` +
          `${total.duplicates} duplicates, ${polls} polls, ${ms} ms`,
      );
      const token = JSON.parse(session).token[0];
      assert.ok(!checkpoint.includes(token), "a token in the checkpoint");
      return { ...total, checkpoint };
    }
    assert.equal(batch.next.tag, "now", JSON.stringify(batch.notices));
  }
  throw new Error(`${what}: not caught up after ${POLLS_MAX} polls`);
}

// Adds a batch to the totals, by stream: the order in which streams take turns does not matter.
function add(total, batch) {
  const bytes = Buffer.from(batch.events);
  let at = 0;
  for (const entry of batch.index) {
    const line = bytes.subarray(at, entry.end).toString();
    assert.ok(line.endsWith("\n"));
    const event = JSON.parse(line);
    assert.equal(event.organization.name, "acme");
    total.repaired += event.mimecast?.parse_errors?.includes("subject") ? 1 : 0;
    (total.lines[entry.kind] ??= []).push(line);
    at = entry.end;
  }
  assert.equal(at, bytes.length, "bytes after the last event");
  assert.ok(batch.index.length + batch.rejected.length <= LIMITS.maxEvents);

  const sum = { events: 0n, rejected: 0n };
  for (const stats of batch.stats) {
    assert.equal(stats.received, stats.events + stats.rejected + stats.duplicates, stats.stream);
    sum.events += stats.events;
    sum.rejected += stats.rejected;
    total.duplicates += Number(stats.duplicates);
  }
  assert.equal(sum.events, BigInt(batch.index.length));
  assert.equal(sum.rejected, BigInt(batch.rejected.length));
  total.events += batch.index.length;
  total.rejected += batch.rejected.length;
}

// A stream that is rewound comes again.
function assertRewinds(source, settings, checkpoint) {
  const from = BigInt(Date.now() - 48 * HOUR_MS);
  const again = source.rewind(settings, checkpoint, ["audit"], from);
  const { index } = source.poll(settings, again, undefined, LIMITS);
  assert.ok(index.length > 0, "nothing came again");
  assert.throws(
    () => source.rewind(settings, checkpoint, ["no such stream"], from),
    (error) => String(error).includes("not selected"),
  );
}

function assertNormalizes(normalizer) {
  const records = new TextEncoder().encode('{"aggregateId":"a","timestamp":1770000000000}\nno record\n');
  const result = normalizer.normalize("siem.receipt", "ecs", '{"tenant":"acme"}', records);
  assert.equal(result.index.length, 1);
  assert.equal(result.rejected.length, 1);
  assert.equal(JSON.parse(result.events).organization.name, "acme");
}
