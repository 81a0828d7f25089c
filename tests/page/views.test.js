// Every view of the status page in light and dark, narrow and wide.

import { after, before, test } from "node:test";
import { assertAccessible, assertFits, launch, picture } from "./browser.js";
import { World, serve } from "./mock.js";

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

for (const [colorScheme, width, names] of [
  ["light", 1280, Object.keys(VIEWS)],
  ["dark", 1280, ["list", "active", "failing", "not-permitted", "add"]],
  ["light", 320, ["list", "active", "failing", "outputs", "add"]],
  ["dark", 2200, ["list", "add"]],
]) {
  test(`every view is accessible and fits: ${colorScheme}, ${width} px`, async () => {
    const world = new World();
    world.fill(1_000);
    world.check = () => ({ successful: true, rows: [{ stream: "audit", outcome: "readable" }, { stream: "dlp", outcome: "not-permitted", permission: "Monitoring | Data Leak Prevention | Read", product: "Security Events", detail: "" }] });
    const host = await serve(world);
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
