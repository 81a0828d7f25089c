// The browser that the tests share, and what holds on every page.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const PICTURES = process.env.PAGE_PICTURES ?? "/tmp/page";
mkdirSync(PICTURES, { recursive: true });

export async function launch() {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu"] });

  /** Runs `work` with a fresh page, and checks what must hold on every page at its end. */
  async function visit(origin, work, { width = 1280, colorScheme = "light", allowedConsoleErrors = [] } = {}) {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, timezoneId: "America/New_York" });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !allowedConsoleErrors.some((text) => message.text().includes(text))) problems.push(message.text());
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(`${origin}/`)) problems.push(`request to ${request.url()}`);
    });
    await context.addInitScript(() => {
      window.violations = [];
      document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
    });
    try {
      await work(page, context);
      problems.push(...(await page.evaluate(() => window.violations)));
      assert.deepEqual(problems, []);
    } catch (error) {
      await page.screenshot({ path: join(PICTURES, "failed.png"), fullPage: true }).catch(() => {});
      throw error;
    } finally {
      await context.close();
    }
  }

  return { visit, close: () => browser.close() };
}

/** Keeps a picture of the page in `PICTURES`. */
export async function picture(page, name, fullPage = true) {
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage });
}

/** Fails where a rule of WCAG 2.2 AA is broken, the contrast of colours included. */
export async function assertAccessible(page) {
  // The content security policy forbids a script element; the debugger may evaluate.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} (${node.failureSummary})`).join("; ")}`);
  assert.deepEqual(found, []);
}

/** Fails where the page is wider than the window. */
export async function assertFits(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= window, `the content is ${content} px wide, the window ${window} px`);
}

/** Waits until `condition` holds. */
export async function until(condition, what, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
