// Every view of the status page in light and dark, narrow and wide.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertFits, launch, picture } from "./browser.js";
import { MockHost, serve } from "./mock.js";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const VIEWS = {
  list: "#/?search=0000",
  active: "#/source/tenant-00014",
  failing: "#/source/tenant-00005",
  blocked: "#/source/tenant-00007",
  "not-permitted": "#/source/tenant-00009",
  waiting: "#/source/tenant-00011",
  outputs: "#/outputs",
  add: "#/add",
};

const FLEET = {
  host: "nats-1-4711-19f", hosts: 2, tenants: 2_000, leases: 12, leases_max: 64, taken: 48_211, expired: 1, fenced: 0, late_seconds: 2,
  overview: {
    at: new Date().toISOString(), tenants: 2_000, states: { active: 1_990, failing: 7, paused: 3 }, never_polled: 4, leases: 23,
    oldest_due: { tenant: "tenant-01234", since: "2026-11-28T10:00:00Z", seconds: 754 },
    hosts: ["nats-1-4711-19f", "nats-2-98-19e"].map((host) => ({
      host, version: "0.2.0", started_at_ms: Date.now() - 86_400_000, written_at_ms: Date.now(), leases: 12, leases_max: 64, taken: 48_211, expired: 1, fenced: 0, late_ms: 2_100,
    })),
  },
};

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 320]) {
    test(`the fleet is shown above the sources of its host: ${colorScheme}, ${width} px`, async () => {
      const mock = new MockHost();
      const host = await serve(mock);
      await browser.visit(host.origin, async (page) => {
        await page.goto(`${host.origin}/`);
        await page.getByRole("heading", { name: "No sources yet" }).waitFor();
        assert.equal(await page.getByRole("heading", { name: "Fleet" }).count(), 0);
        mock.fleet = { ...FLEET, overview: null };
        await page.reload();
        await page.getByRole("heading", { name: "No tenants here yet" }).waitFor();
        mock.fill(10);
        mock.fleet = FLEET;
        await page.reload();
        const fleet = page.getByRole("region", { name: "Fleet", exact: true });
        const table = fleet.getByRole("table", { name: "Hosts of the fleet" });
        await table.waitFor();
        assert.equal(await table.getByRole("row").count(), 3);
        const text = await fleet.innerText();
        for (const part of ["2,000", "Active: 1,990", "Failing: 7", "Paused: 3", "tenant-01234, for 12 min 34 s", "12 of 64", "this host"]) {
          assert.ok(text.includes(part), `${part}: ${text}`);
        }
        await assertFits(page);
        await assertAccessible(page);
        await picture(page, `fleet-${colorScheme}-${width}`);
      }, { colorScheme, width }).finally(host.close);
    });
  }
}

test("a host of the fleet that stored an impossible time is shown without it", async () => {
  const mock = new MockHost();
  mock.fill(10);
  mock.fleet = structuredClone(FLEET);
  mock.fleet.overview.hosts[1].started_at_ms = 1e20;
  const host = await serve(mock);
  await browser.visit(host.origin, async (page) => {
    await page.goto(`${host.origin}/`);
    const row = page.getByRole("table", { name: "Hosts of the fleet" }).getByRole("row", { name: "nats-2-98-19e" });
    await row.waitFor();
    assert.match(await row.innerText(), /0\.2\.0\s+–\s+12 of 64/);
  }).finally(host.close);
});

for (const [colorScheme, width, names] of [
  ["light", 1280, Object.keys(VIEWS)],
  ["dark", 1280, ["list", "active", "failing", "not-permitted", "add"]],
  ["light", 320, ["list", "active", "failing", "outputs", "add"]],
  ["dark", 2200, ["list", "add"]],
]) {
  test(`every view is accessible and fits: ${colorScheme}, ${width} px`, async () => {
    const mock = new MockHost();
    mock.fill(1_000);
    mock.check = () => ({ successful: true, rows: [{ stream: "audit", outcome: "readable" }, { stream: "dlp", outcome: "not-permitted", permission: "Monitoring | Data Leak Prevention | Read", product: "Security Events", detail: "" }] });
    const host = await serve(mock);
    await browser.visit(host.origin, async (page) => {
      for (const name of names) {
        await page.goto(`${host.origin}/${VIEWS[name]}`);
        await page.locator(name === "add" ? "form" : ".table tbody tr").first().waitFor();
        if (name === "active") {
          await page.getByRole("button", { name: "Test connection" }).click();
          await page.getByRole("heading", { name: "Connection successful" }).waitFor();
        }
        if (name === "add") await page.getByLabel("Only these").check();
        await assertFits(page);
        await assertAccessible(page);
        await picture(page, `${name}-${colorScheme}-${width}`);
      }
    }, { colorScheme, width }).finally(host.close);
  });
}
