// The result of "Test connection", as it is shown.

import { duration, stamp } from "./format.js";

const OUTCOMES = {
  readable: { word: "Readable", tone: "good", icon: "check" },
  waiting: { word: "Rate limit used up", tone: "warn", icon: "clock" },
  "not-permitted": { word: "Not-permitted", tone: "warn", icon: "lock" },
  unauthorized: { word: "Unauthorized", tone: "bad", icon: "lock" },
  failing: { word: "Failing", tone: "bad", icon: "cross" },
};

/** Brings the response of `POST …/check` into the form that is shown. */
export function checkResult(response) {
  const rows = (response.streams ?? []).map((row) => ({
    stream: row.stream,
    ...(OUTCOMES[row.outcome] ?? { word: String(row.outcome), tone: "calm", icon: "dots" }),
    detail: row.detail ?? "",
    permission: row.permission ?? "",
    product: row.product ?? "",
  }));
  const facts = [];
  if (typeof response.seconds === "number") facts.push(response.seconds < 1 ? `${response.seconds.toFixed(1)} s` : duration(response.seconds));
  if (response.account) facts.push(`account ${response.account}`);
  if (typeof response.clock_skew_ms === "number" && Math.abs(response.clock_skew_ms) >= 2000) {
    facts.push(`this host's clock is ${duration(Math.abs(response.clock_skew_ms) / 1000)} ${response.clock_skew_ms > 0 ? "ahead" : "behind"}`);
  }
  return { isGood: response.successful === true, at: stamp(response.at), detail: response.detail ?? "", rows, facts };
}
