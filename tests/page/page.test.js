// Drives the status page against a host that holds its sources in memory.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, launch, picture, until } from "./browser.js";
import { SIEM_PERMISSION, MockHost, serve } from "./mock.js";

const STAMP = /\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
const SECRET = "s3cret-of-a-test";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** A mock host and its server, for one test. */
async function withHost(prepare, work, options) {
  const mock = new MockHost();
  prepare(mock);
  const host = await serve(mock);
  try {
    await browser.visit(host.origin, (page, context) => work(page, mock, host.origin, context), options);
  } finally {
    host.close();
  }
}

const heading = (page) => page.locator("h1");
const button = (page, name) => page.getByRole("button", { name, exact: true });

test("10,000 sources are searched, filtered and paged", async () => {
  await withHost((mock) => mock.fill(10_000), async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    const rows = page.locator("tbody tr:not(.more)");
    await until(async () => (await rows.count()) === 100, "the first page of rows");
    await page.getByText("1–100 of 10,000 sources").waitFor();
    const failing = page.getByRole("button", { name: "Failing 21" });
    await failing.waitFor();
    await picture(page, "list", false);

    await page.getByRole("searchbox", { name: "Search" }).fill("tenant-0777");
    await page.getByText("1–10 of 10 sources").waitFor();
    assert.ok(mock.requests.every(({ query }) => new URLSearchParams(query).get("limit") === "100"), "no request reads all of them");
    assert.equal(await page.locator(":focus").getAttribute("id"), "search", "the focus stays in the field");
    assert.match(await page.locator("#announcement").textContent(), /10 sources found/);
    assert.match(page.url(), /search=tenant-0777/);

    await page.getByRole("searchbox").fill("");
    await failing.click();
    await page.getByText("1–21 of 21 sources").waitFor();
    assert.deepEqual([...new Set(await page.locator("tbody [data-state]").allTextContents())], ["Failing"]);
    assert.equal(await failing.getAttribute("aria-pressed"), "true");
    await page.getByRole("button", { name: "All 10,000" }).click();

    await button(page, "Last").click();
    await page.locator("#range", { hasText: "9,901–10,000 of 10,000 sources" }).waitFor();
    await page.getByRole("link", { name: "tenant-09999" }).waitFor();
    await page.reload();
    await page.locator("#range", { hasText: "9,901–10,000 of 10,000 sources" }).waitFor();
    assert.ok(await button(page, "Next").isDisabled());

    // The address of a page that there is no more leads to the last one.
    await page.goto(`${origin}/#/?offset=20000`);
    await page.locator("#range", { hasText: "9,901–10,000 of 10,000 sources" }).waitFor();

    await page.getByRole("searchbox").fill("nobody");
    await page.getByText("the name contains “nobody”").waitFor();
    await button(page, "Show all sources").click();
    await page.getByText("1–100 of 10,000 sources").waitFor();
  });
});

test("a refresh keeps rows, focus and the position of the page", async () => {
  await withHost((mock) => mock.fill(300), async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    const link = page.getByRole("link", { name: "tenant-00050" });
    await link.focus();
    await page.evaluate(() => {
      window.kept = document.activeElement;
    });
    const top = await page.evaluate(() => window.scrollY);
    mock.sources.get("tenant-00050").state = "failing";
    mock.sources.delete("tenant-00000");
    await until(async () => (await page.locator('[data-key="tenant-00050"] [data-state]').textContent()) === "Failing", "the new state");
    assert.ok(await page.evaluate(() => document.activeElement === window.kept), "the same element has the focus");
    assert.ok(Math.abs((await page.evaluate(() => window.scrollY)) - top) < 60);
  });
});

test("a connector is added, and its connection tested", async () => {
  await withHost((mock) => {
    mock.check = () => ({ successful: true, rows: [
      { stream: "siem.receipt", outcome: "readable" },
      { stream: "audit", outcome: "readable" },
    ] });
  }, async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    await page.getByRole("heading", { name: "No sources yet" }).waitFor();
    await page.locator("main").getByRole("link", { name: "Add connector" }).click();
    await page.getByLabel("Connector name").waitFor();
    assert.equal(await page.locator(":focus").textContent(), "Add connector", "the heading has the focus");

    // What is missing is named at its field, and the first of these has the focus.
    await button(page, "Save").click();
    await page.getByText("Enter a name.").waitFor();
    await page.getByText("Enter the Client ID.").waitFor();
    await page.getByText("Enter the Client Secret.").waitFor();
    assert.equal(await page.locator(":focus").getAttribute("id"), "name");
    assert.equal(await page.getByLabel("Client ID").getAttribute("aria-invalid"), "true");

    await page.getByLabel("Connector name").fill("Zürich");
    await button(page, "Save").click();
    await page.getByText("A name has letters, digits").waitFor();
    await page.getByLabel("Connector name").fill("acme");

    await page.getByLabel("API 1.0", { exact: true }).check();
    for (const label of ["Application ID", "Application Key", "Access Key", "Secret Key", "Account Code", "Email address"]) {
      assert.ok(await page.getByLabel(label).isVisible(), label);
    }
    assert.ok(!(await page.getByLabel("Client ID").isVisible()));
    await page.getByLabel("API 2.0", { exact: true }).check();

    await page.getByLabel("Client ID").fill("the-id");
    await page.getByLabel("Client Secret").fill(SECRET);
    assert.equal(await page.getByLabel("Client Secret").getAttribute("type"), "password");
    await page.getByLabel("Only these").check();
    await button(page, "Save").click();
    await page.getByText("Tick at least one log type.").waitFor();
    await page.getByRole("checkbox", { name: "SIEM logs" }).check();
    await page.getByText("10 types").click();
    assert.equal(await page.locator("[data-family=siem]:checked").count(), 10);
    await page.getByRole("checkbox", { name: "siem.journal" }).uncheck();
    assert.ok(await page.getByRole("checkbox", { name: "SIEM logs" }).evaluate((box) => box.indeterminate && !box.checked));
    await page.getByRole("checkbox", { name: "siem.journal" }).check();
    await page.getByRole("checkbox", { name: "Audit logs" }).check();
    await page.getByText("Account | Logs | Read").filter({ visible: true }).waitFor();
    await page.getByLabel("Format").selectOption("ocsf");
    await picture(page, "add");
    await assertAccessible(page);
    await button(page, "Save and test connection").click();

    await page.getByRole("heading", { name: "Connection successful" }).waitFor();
    const result = await page.locator("#check").innerText();
    assert.match(result, STAMP);
    assert.match(result, /2 of 2 streams readable/);
    assert.equal(await page.locator("#check").getAttribute("role"), "status");
    assert.equal(await page.locator(".title [data-state]").textContent(), "Active");
    await picture(page, "connection-successful");

    const put = mock.requests.find(({ method }) => method === "PUT");
    assert.equal(put.path, "/api/v1/sources/acme");
    assert.deepEqual(put.body, {
      enabled: true,
      settings: { client_id: "the-id", client_secret: SECRET, streams: ["siem", "audit"], format: "ocsf" },
    });

    // The secret is nowhere in the page and what it keeps.
    const kept = await page.evaluate(() => document.documentElement.outerHTML + JSON.stringify({ ...sessionStorage, ...localStorage }) + location.href);
    assert.ok(!kept.includes(SECRET));
    assert.equal(mock.requests.filter(({ text }) => text.includes(SECRET)).length, 1);
  });
});

test("API 1.0 takes its keys, and a name that is used is not taken over", async () => {
  await withHost((mock) => mock.add("acme"), async (page, mock, origin) => {
    await page.goto(`${origin}/#/add`);
    await page.getByLabel("Connector name").fill("acme");
    await page.getByLabel("API 1.0", { exact: true }).check();
    for (const [label, value] of [["Application ID", "app"], ["Application Key", "k1"], ["Access Key", "k2"], ["Secret Key", "azM="], ["Account Code", "CUK1"]]) {
      await page.getByLabel(label).fill(value);
    }
    await button(page, "Save").click();
    await page.getByText("Enter the email address of the account, or the base URL.").waitFor();
    await page.getByLabel("Base URL").fill("https://eu-api.mimecast.com");
    await button(page, "Save").click();
    await page.getByText('there is a source "acme" already; choose another name, or edit that source').waitFor();
    await page.getByLabel("Connector name").fill("acme-old");
    await button(page, "Save").click();
    await page.getByText("Saved.").waitFor();
    assert.deepEqual(mock.requests.filter(({ method }) => method === "PUT").pop().body, {
      enabled: true,
      settings: { api: "1.0", app_id: "app", app_key: "k1", access_key: "k2", secret_key: "azM=", account_code: "CUK1", base_url: "https://eu-api.mimecast.com", format: "ecs" },
    });
    assert.equal(mock.sources.get("acme").body.settings.client_id, "id");
  }, { allowedConsoleErrors: ["409"] });
});

test("a refusal that is not about the name has no advice about the name", async () => {
  await withHost((mock) => { mock.fleet = { host: "a", overview: null }; }, async (page, mock, origin) => {
    await page.goto(`${origin}/#/add`);
    await page.getByLabel("Connector name").fill("acme");
    await page.getByLabel("Client ID").fill("the-id");
    await page.getByLabel("Client Secret").fill(SECRET);
    await button(page, "Save").click();
    await page.getByText("the tenants of a fleet are changed with").waitFor();
    assert.doesNotMatch(await page.locator("#errors").innerText(), /another name/);
  }, { allowedConsoleErrors: ["409"] });
});

test("mistakes that the host finds are shown, and nothing typed is lost", async () => {
  await withHost(() => {}, async (page, mock, origin) => {
    await page.goto(`${origin}/#/add`);
    await page.getByLabel("Connector name").fill("acme");
    await page.getByLabel("Client ID").fill("refused");
    await page.getByLabel("Client Secret").fill(SECRET);
    await button(page, "Save").click();
    await page.getByText("client_id: is refused by this test").waitFor();
    await page.getByText("start: `yesterday` is not a duration").waitFor();
    assert.equal(await page.getByLabel("Client Secret").inputValue(), SECRET);
    assert.equal(await page.locator(":focus").getAttribute("id"), "refused");
  }, { allowedConsoleErrors: ["422"] });
});

test("a wrong secret and a missing permission are named", async () => {
  await withHost((mock) => {
    mock.add("wrong", { state: "unauthorized" });
    mock.add("narrow", { state: "not-permitted" });
    mock.check = ({ name }) => name === "wrong"
      ? { successful: false, detail: "the token was refused with 401 InvalidClientIdentifier", rows: [{ stream: "audit", outcome: "unauthorized", detail: "credentials refused: check client_id and client_secret" }] }
      : { successful: false, rows: [{ stream: "audit", outcome: "readable" }, { stream: "siem.receipt", outcome: "not-permitted", permission: SIEM_PERMISSION, product: "Threats, Security Events and Data for CG", detail: "app_forbidden" }] };
  }, async (page, mock, origin) => {
    await page.goto(`${origin}/#/source/wrong`);
    await button(page, "Test connection").click();
    await page.getByRole("heading", { name: "Connection failed" }).waitFor();
    const wrong = await page.locator("#check").innerText();
    assert.match(wrong, STAMP);
    assert.match(wrong, /Unauthorized/);
    assert.match(wrong, /check client_id and client_secret/);
    await assertAccessible(page);
    await picture(page, "wrong-secret");

    await page.goto(`${origin}/#/source/narrow`);
    await button(page, "Test connection").click();
    await page.getByRole("heading", { name: "Connection failed" }).waitFor();
    const row = page.locator("#check tr", { hasText: "siem.receipt" });
    assert.match(await row.innerText(), /Not-permitted/);
    assert.ok((await row.innerText()).includes(SIEM_PERMISSION));
    await picture(page, "missing-permission");
  });
});

test("what streams wait for is shown while the others are collected", async () => {
  const wait = "waiting until 2026-11-28T21:14:03Z, streams siem.av, siem.spam: the rate limit of 50 requests in 15 minutes for SIEM batch files is used up";
  await withHost((mock) => mock.add("acme", { waits: [wait] }), async (page, mock, origin) => {
    await page.goto(`${origin}/#/source/acme`);
    const waits = page.getByRole("region", { name: "Waits" });
    await waits.waitFor();
    assert.equal(await waits.innerText(), wait.replace("waiting", "Waiting"));
    await assertAccessible(page);
  });
});

test("an edit keeps secrets and the settings that the form does not show", async () => {
  await withHost((mock) => mock.add("acme", {
    body: { enabled: true, outputs: ["siem"], settings: { client_id: "old-id", overlap: "30m", streams: ["siem", "dlp"], format: "raw" } },
    secretValues: { client_secret: SECRET },
  }), async (page, mock, origin) => {
    await page.goto(`${origin}/#/source/acme`);
    await page.getByRole("link", { name: "Edit" }).click();
    await page.getByRole("heading", { name: "Edit acme" }).waitFor();
    const secret = page.getByLabel("Client Secret");
    await secret.waitFor();
    assert.equal(await secret.inputValue(), "");
    assert.equal(await secret.getAttribute("placeholder"), "unchanged");
    assert.equal(await page.getByLabel("Client ID").inputValue(), "old-id");
    assert.ok(await page.getByRole("checkbox", { name: "SIEM logs" }).isChecked());
    assert.ok(await page.getByRole("checkbox", { name: "DLP logs" }).isChecked());
    assert.ok(!(await page.getByRole("checkbox", { name: "Audit logs" }).isChecked()));
    await page.getByLabel("Client ID").fill("new-id");
    await page.getByRole("checkbox", { name: "Audit logs" }).check();
    await picture(page, "edit");
    await button(page, "Save").click();
    await page.getByText("Saved.").waitFor();
    assert.deepEqual(mock.requests.find(({ method }) => method === "PUT").body, {
      enabled: true,
      outputs: ["siem"],
      settings: { client_id: "new-id", overlap: "30m", streams: ["siem", "audit", "dlp"], format: "raw" },
    });
    assert.deepEqual(mock.sources.get("acme").secrets, ["client_secret"]);
  });
});

test("an edit moves a source to the other API without the secrets of the former one", async () => {
  const keys = ["app_key", "access_key", "secret_key"];
  await withHost((mock) => {
    mock.outputs.push({ ...mock.outputs[0], output: "dead_letter" });
    mock.add("acme", {
      body: { enabled: true, settings: { api: "1.0", app_id: "app", email: "a@example.com", format: "ecs" } },
      secrets: keys,
      secretValues: Object.fromEntries(keys.map((key) => [key, SECRET])),
    });
  }, async (page, mock, origin) => {
    await page.goto(`${origin}/#/edit/acme`);
    await page.getByLabel("API 2.0", { exact: true }).check();
    await page.getByLabel("Client ID").fill("the-id");
    await page.getByLabel("Client Secret").fill(SECRET);
    await page.getByText("None ticked means all.").waitFor();
    assert.deepEqual(await page.locator("[name=output]").evaluateAll((boxes) => boxes.map(({ value }) => value)), ["siem", "splunk"]);
    await button(page, "Save").click();
    await page.getByText("Saved.").waitFor();
    assert.deepEqual(mock.requests.find(({ method }) => method === "PUT").body, {
      enabled: true,
      settings: { api: "2.0", client_id: "the-id", client_secret: SECRET, app_key: null, access_key: null, secret_key: null, format: "ecs" },
    });
    assert.deepEqual(mock.sources.get("acme").secrets, ["client_secret"]);
    assert.deepEqual(mock.sources.get("acme").body.settings, { api: "2.0", client_id: "the-id", format: "ecs" });
  });
});

test("a source of the settings file is not offered to be edited or removed", async () => {
  await withHost((mock) => mock.add("fixed", { editable: false }), async (page, mock, origin) => {
    await page.goto(`${origin}/#/source/fixed`);
    await page.getByText("This source is in host.toml").waitFor();
    assert.equal(await button(page, "Remove").count(), 0);
    await button(page, "Pause").waitFor();
    await page.goto(`${origin}/#/edit/fixed`);
    await page.getByText("This source is in host.toml").waitFor();
    assert.equal(await page.locator("form").count(), 0);
  });
});

test("a source is paused, resumed, collected again and removed", async () => {
  await withHost((mock) => {
    mock.add("acme");
    mock.add("other");
  }, async (page, mock, origin) => {
    await page.goto(`${origin}/#/source/acme`);
    const state = page.locator(".title [data-state]");
    await button(page, "Pause").click();
    await page.getByText("Paused. Its position is kept.").waitFor();
    assert.equal(await state.textContent(), "Paused");
    await button(page, "Resume").click();
    await page.getByText("Resumed.").waitFor();
    assert.equal(await state.textContent(), "Active");

    await button(page, "Collect again").click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("From (UTC)").fill("2026-11-01T00:00");
    await dialog.getByLabel("audit").check();
    await dialog.getByRole("button", { name: "Collect again" }).click();
    await page.getByText("Collects audit again from 2026-11-01T00:00:00Z.").waitFor();
    assert.deepEqual(mock.sources.get("acme").reset, { from: "2026-11-01T00:00:00Z", streams: ["audit"] });

    await button(page, "Remove").click();
    assert.equal(await page.locator(":focus").textContent(), "Cancel", "the safe answer has the focus");
    await picture(page, "remove", false);
    await assertAccessible(page);
    await page.keyboard.press("Escape");
    assert.equal(await page.locator(":focus").textContent(), "Remove", "the focus returns");
    assert.ok(mock.sources.has("acme"));
    await button(page, "Remove").click();
    await button(page, "Remove acme").click();
    await page.getByText("1–1 of 1 source").waitFor();
    assert.ok(!mock.sources.has("acme"));
    await page.goto(`${origin}/#/source/acme`);
    await page.getByText("There is no source acme on this host").waitFor();
  }, { allowedConsoleErrors: ["404"] });
});

test("the token is asked for once, and kept for the tab only", async () => {
  await withHost((mock) => {
    mock.add("acme");
    mock.token = "the-token";
  }, async (page, mock, origin, context) => {
    await page.goto(`${origin}/`);
    const dialog = page.getByRole("dialog", { name: "Token" });
    await dialog.waitFor();
    await assertAccessible(page);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Enter the token" }).click();
    await dialog.getByLabel("Token").fill("wrong");
    await page.keyboard.press("Enter");
    await dialog.getByText("This token is not accepted.").waitFor();
    await dialog.getByLabel("Token").fill("the-token");
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "acme" }).click();
    await button(page, "Pause").click();
    await page.getByText("Paused. Its position is kept.").waitFor();
    await page.reload();
    await button(page, "Resume").waitFor();
    assert.equal(await dialog.count(), 0);
    const kept = await page.evaluate(() => ({ ...localStorage, cookie: document.cookie, address: location.href }));
    assert.ok(!JSON.stringify(kept).includes("the-token"));
    assert.deepEqual(await context.cookies(), []);
  }, { allowedConsoleErrors: ["401"] });
});

test("a lost connection is shown with the age of the data, and found again", async () => {
  await withHost((mock) => mock.fill(3), async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    await page.getByText("Live").waitFor();
    mock.isDown = true;
    await page.getByText("Connection lost.").waitFor();
    await page.getByText(/Connection lost: data is \d+ s old/).waitFor();
    assert.equal(await page.locator("tbody tr:not(.more)").count(), 3, "what was known stays");
    await picture(page, "connection-lost");
    await assertAccessible(page);
    mock.isDown = false;
    await page.getByText("Live").waitFor();
    assert.equal(await page.locator("#failure").count(), 0);
  }, { allowedConsoleErrors: ["ERR_"] });
});

test("a hidden tab asks for nothing", async () => {
  await withHost((mock) => mock.fill(3), async (page, mock, origin) => {
    await page.clock.install();
    await page.goto(`${origin}/`);
    await page.getByText("Live").waitFor();
    const setHidden = (hidden) => page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await setHidden(true);
    const before = mock.requests.length;
    await page.clock.runFor(60_000);
    assert.equal(mock.requests.length, before);
    await setHidden(false);
    await until(() => mock.requests.length > before, "a refresh when the tab is shown");
    const shown = mock.requests.length;
    await until(async () => {
      await page.clock.runFor(5_000);
      return mock.requests.length > shown;
    }, "refreshes go on");
  });
});

test("the keyboard reaches everything, and the heading of a new view has the focus", async () => {
  await withHost((mock) => mock.fill(3), async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    await page.locator("tbody tr:not(.more)").first().waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.locator(":focus").textContent(), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator(":focus").getAttribute("id"), "main");
    const reached = [];
    for (let count = 0; count < 12; count += 1) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent));
    }
    assert.ok(reached.includes("search") && reached.includes("tenant-00001"), reached.join(", "));
    await page.getByRole("link", { name: "tenant-00001" }).focus();
    await page.keyboard.press("Enter");
    await until(async () => (await heading(page).textContent()) === "tenant-00001", "the view of the source");
    assert.equal(await page.locator(":focus").getAttribute("id"), "heading");
    assert.equal(await page.title(), "tenant-00001 – source-host");
    await page.goBack();
    await until(async () => (await heading(page).textContent()) === "Collection status", "the list again");
  });
});

test("what comes from outside is shown as text", async () => {
  const text = `<img src=x onerror="document.title='x'"><script>1</script>`;
  await withHost((mock) => {
    mock.add("acme", { state: "failing" });
    const report = mock.report.bind(mock);
    mock.report = (source, hasStreams) => ({ ...report(source, hasStreams), detail: text, settings_error: text });
  }, async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    await page.getByText("<script>1</script>").first().waitFor();
    await page.getByRole("link", { name: "acme" }).click();
    await page.getByText("The settings have a mistake:").waitFor();
    assert.equal(await page.locator("main img, main script").count(), 0);
  });
});

test("events and lag are plotted, and readable without seeing the plot", async () => {
  await withHost((mock) => mock.add("acme"), async (page, mock, origin) => {
    await page.goto(`${origin}/#/source/acme`);
    const plot = page.locator("svg.plot");
    await plot.waitFor();
    assert.match(await plot.getAttribute("aria-label"), /Events and lag over time\. [\d,]+ events in the last 4 h/);
    const points = mock.history(mock.sources.get("acme")).points;
    const events = points.reduce((sum, point) => sum + point.events, 0);
    const shown = Number(/([\d,]+) events/.exec(await plot.getAttribute("aria-label"))[1].replaceAll(",", ""));
    assert.ok(Math.abs(shown - events) < 400, `${shown} of ${events} events`);
    assert.ok((await page.locator("svg.plot .bar").count()) > 20);
    await page.getByText("The numbers as a table").click();
    assert.ok((await page.locator(".numbers tbody tr").count()) > 10);
    // A refresh does not close it.
    const requests = mock.requests.length;
    await until(() => mock.requests.length > requests + 1, "a refresh");
    assert.ok(await page.locator(".numbers").isVisible());
  });
});

test("durations, axes and intervals are right at their edges", async () => {
  await withHost(() => {}, async (page, mock, origin) => {
    await page.goto(`${origin}/`);
    const found = await page.evaluate(async () => {
      const { duration, counted } = await import("/assets/format.js");
      const { intervals, roundUp } = await import("/assets/plot.js");
      const at = (minute) => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
      const every = (minutes, step = 1) => Array.from({ length: Math.floor(minutes / step) }, (_, index) => ({ at: at(index * step), events: 2, lag_seconds: index }));
      return {
        durations: [null, -5, 0, 59.4, 59.6, 60, 61, 3599.6, 3660, 86_399, 90_000, 864_000].map(duration),
        counts: [counted(1, "source"), counted(12_345, "source")],
        axes: [0, 1, 1.5, 2, 99, 100, 101, 2_001].map(roundUp),
        hour: intervals(every(50)),
        day: intervals(every(1_440)),
        hole: intervals([{ at: at(0), events: 1, lag_seconds: 1 }, { at: at(3), events: 4, lag_seconds: null }]),
        none: intervals([{ at: "no time", events: 1 }]),
      };
    });
    assert.deepEqual(found.durations, ["–", "0 s", "0 s", "59 s", "1 min", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "23 h 59 min", "1 d 1 h", "10 d"]);
    assert.deepEqual(found.counts, ["1 source", "12,345 sources"]);
    assert.deepEqual(found.axes, [1, 1, 2, 2, 100, 100, 200, 5_000]);
    assert.equal(found.hour.step, 60_000);
    assert.equal(found.hour.rows.length, 50);
    // No event is lost in summing up, and the highest lag of an interval counts.
    assert.ok(found.day.rows.length <= 60);
    assert.equal(found.day.rows.reduce((sum, row) => sum + row.events, 0), 2_880);
    assert.equal(Math.max(...found.day.rows.map((row) => row.lag)), 1_439);
    assert.deepEqual(found.hole.rows.map((row) => row && [row.events, row.lag]), [[1, 1], null, null, [4, null]]);
    assert.deepEqual(found.none.rows, []);
  });
});
