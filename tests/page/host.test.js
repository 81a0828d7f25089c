// Drives the status page of a real host with 10,000 sources and simulated tenants.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { assertAccessible, launch, picture, until } from "./browser.js";

const PROGRAMS = process.env.PAGE_PROGRAMS ?? "target/debug";
const HOST = join(PROGRAMS, "source-host");
const SIMULATOR = join(PROGRAMS, "mimecast-simulator");
const isBuilt = [HOST, SIMULATOR].every((program) => existsSync(program));
if (!isBuilt) console.log(`LEFT OUT: no source-host and mimecast-simulator in ${PROGRAMS}: the status page of a real host`);

const STAMP = /\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
const TOKEN = "a-token-of-a-test";
/** Sources that are paused from the start; with the one that is added there are 10,000. */
const PAUSED_SOURCES = 9_999;
const EVENTS = 40;
/** The component is compiled at the first start, and the machine may be busy. */
const TIMEOUT_SECONDS = 120;

const processes = [];
let browser;
let folder;

/** Starts a program, and resolves with the match of `pattern` in the first line of its output that has one. */
async function start(program, options, output, pattern) {
  const child = spawn(program, options, { cwd: folder, stdio: ["pipe", output === "stdout" ? "pipe" : "ignore", output === "stderr" ? "pipe" : "inherit"] });
  processes.push(child);
  const lines = [];
  return new Promise((resolve, reject) => {
    child.on("exit", (code) => reject(new Error(`${program} ended with ${code}:\n${lines.join("\n")}`)));
    createInterface({ input: child[output] }).on("line", (line) => {
      lines.push(line);
      const found = pattern.exec(line);
      if (found) resolve(found);
    });
  });
}

async function simulator(...more) {
  const [line] = await start(SIMULATOR, ["--types", "", "--log-records", "5", "--audit-events", String(EVENTS), "--no-odd-shapes", "--no-duplicates", ...more], "stdout", /^\{.*\}$/);
  return JSON.parse(line);
}

before(async () => {
  if (!isBuilt) return;
  folder = await mkdtemp(join(tmpdir(), "page-"));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await Promise.all(processes.map((child) => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    return child.exitCode === null && child.kill() ? ended : null;
  }));
  if (folder) await rm(folder, { recursive: true });
});

const button = (page, name) => page.getByRole("button", { name, exact: true });
const state = (page) => page.locator(".title [data-state]").textContent();

/** Fills the form for a tenant whose API is at `base`. */
async function fill(page, { name, id, secret, base, logTypes }) {
  await page.getByLabel("Connector name").fill(name);
  await page.getByLabel("Client ID").fill(id);
  await page.getByLabel("Client Secret").fill(secret);
  await page.getByLabel("Base URL").fill(base);
  await page.getByLabel("Only these").check();
  for (const logType of logTypes) await page.getByRole("checkbox", { name: logType }).check();
  await page.getByLabel("Format").selectOption("raw");
}

async function enterToken(page) {
  const dialog = page.getByRole("dialog", { name: "Token" });
  await dialog.getByLabel("Token").fill(TOKEN);
  await page.keyboard.press("Enter");
}

/** Waits for the result of a connection test, and returns its text. */
async function resultOfTest(page, words) {
  await page.getByRole("heading", { name: words }).waitFor({ timeout: TIMEOUT_SECONDS * 1000 });
  const text = await page.locator("#check").innerText();
  assert.match(text, STAMP);
  return text;
}

test("a connector of a real host is added, tested, paused, resumed and removed among 10,000 sources", { skip: !isBuilt }, async () => {
  const permitted = await simulator();
  const restricted = await simulator("--permissions", "audit");
  const sources = join(folder, "sources");
  await mkdir(sources);
  await writeFile(join(sources, "shared.secret"), "secret");
  const pausedSettings = 'enabled = false\n[settings]\nclient_id = "id"\nclient_secret = { file = "shared.secret" }\n';
  for (let index = 0; index < PAUSED_SOURCES; index += 1) {
    await writeFile(join(sources, `tenant-${String(index).padStart(5, "0")}.toml`), pausedSettings);
  }
  await writeFile(join(folder, "token"), TOKEN, { mode: 0o600 });
  await writeFile(join(folder, "host.toml"), `
    state_dir = "state"
    sources_dir = "sources"
    [admin]
    listen = "127.0.0.1:0"
    token = { file = "token" }
    [[output]]
    name = "siem"
    type = "file"
    path = "events.ndjson"
  `);
  const [, origin] = await start(HOST, ["run", "host.toml"], "stderr", /admin server at (http:\S+)/);

  await browser.visit(origin, async (page) => {
    page.setDefaultTimeout(TIMEOUT_SECONDS * 1000); // the sources start meanwhile
    await page.goto(`${origin}/`);
    await page.getByText("1–100 of 9,999 sources").waitFor({ timeout: TIMEOUT_SECONDS * 1000 });

    // A wrong secret, with the time of the test.
    await page.getByRole("link", { name: "Add connector" }).first().click();
    await fill(page, { name: "acme", id: permitted.client_id, secret: "a wrong one", base: permitted.api_url, logTypes: ["Audit logs"] });
    await button(page, "Save and test connection").click();
    await enterToken(page);
    const refused = await resultOfTest(page, "Connection failed");
    assert.match(refused, /Unauthorized/);
    assert.match(refused, /client_secret/);
    await until(async () => (await state(page)) === "Unauthorized", "the state of refused credentials", TIMEOUT_SECONDS);
    await picture(page, "host-wrong-secret");

    // The right one: the test succeeds, and the source becomes active.
    await page.getByRole("link", { name: "Edit" }).click();
    await page.getByRole("heading", { name: "Edit acme" }).waitFor();
    await page.getByLabel("Client Secret").fill(permitted.client_secret);
    await button(page, "Save and test connection").click();
    const successful = await resultOfTest(page, "Connection successful");
    assert.match(successful, /1 of 1 stream readable/);
    await picture(page, "host-connection-successful");
    await until(async () => (await state(page)) === "Active", "the state Active", TIMEOUT_SECONDS);
    await until(async () => (await page.locator("section[aria-labelledby=streams-heading] tr", { hasText: "audit" }).first().innerText()).includes(`\t${EVENTS}\t`), "the events of the stream", TIMEOUT_SECONDS);
    await assertAccessible(page);
    await picture(page, "host-active");
    const delivered = await readFile(join(folder, "events.ndjson"), "utf8");
    assert.equal(delivered.trimEnd().split("\n").length, EVENTS);
    assert.equal((await stat(join(sources, "acme.client_secret.secret"))).mode & 0o777, 0o600);
    for (const text of [await page.content(), await readFile(join(sources, "acme.toml"), "utf8")]) {
      assert.ok(!text.includes(permitted.client_secret));
    }

    await button(page, "Pause").click();
    await page.getByText("Paused. Its position is kept.").waitFor();
    assert.equal(await state(page), "Paused");
    await button(page, "Resume").click();
    await page.getByText("Resumed.").waitFor();
    await until(async () => (await state(page)) === "Active", "Active again", TIMEOUT_SECONDS);

    // A permission is missing, and its path is named.
    await page.goto(`${origin}/#/add`);
    await fill(page, { name: "restricted", id: restricted.client_id, secret: restricted.client_secret, base: restricted.api_url, logTypes: ["Audit logs", "DLP logs"] });
    await button(page, "Save and test connection").click();
    await resultOfTest(page, "Connection failed");
    const row = await page.locator("#check tr", { hasText: "dlp" }).innerText();
    assert.match(row, /Not-permitted/);
    assert.ok(row.includes("Monitoring | Data Leak Prevention | Read"), row);
    await picture(page, "host-missing-permission");

    await button(page, "Remove").click();
    await button(page, "Remove restricted").click();
    await page.getByText("1–100 of 10,000 sources").waitFor();
    assert.ok(!existsSync(join(sources, "restricted.toml")));

    // All of them.
    await page.getByRole("searchbox", { name: "Search" }).fill("tenant-0777");
    await page.getByText("1–10 of 10 sources").waitFor();
    await page.getByRole("searchbox").fill("");
    await page.getByRole("button", { name: "Paused 9,999" }).click();
    await page.getByText("1–100 of 9,999 sources").waitFor();
    await page.getByRole("button", { name: "All 10,000" }).click();
    await button(page, "Last").click();
    await page.locator("#range", { hasText: "9,901–10,000 of 10,000 sources" }).waitFor();
    await page.getByRole("link", { name: "tenant-09998" }).waitFor();
    await picture(page, "host-10000", false);
  }, { allowedConsoleErrors: ["401"] });
});
