// The result of "Test connection", as it is shown.

import { duration, stamp } from "./format.js";

const OUTCOMES = {
  readable: { word: "Readable", tone: "good", icon: "check" },
  waiting: { word: "Rate limit used up", tone: "warn", icon: "clock" },
  "not-permitted": { word: "Not-permitted", tone: "warn", icon: "lock" },
  unauthorized: { word: "Unauthorized", tone: "bad", icon: "lock" },
  failing: { word: "Failing", tone: "bad", icon: "cross" },
};

/** Brings the answer of `POST …/check` into the form that is shown. */
export function checkResult(answer) {
  const rows = (answer.streams ?? []).map((row) => ({
    stream: row.stream,
    ...(OUTCOMES[row.outcome] ?? { word: String(row.outcome), tone: "calm", icon: "dots" }),
    detail: row.detail ?? "",
    permission: row.permission ?? "",
    product: row.product ?? "",
  }));
  const facts = [];
  if (typeof answer.seconds === "number") facts.push(answer.seconds < 1 ? `${answer.seconds.toFixed(1)} s` : duration(answer.seconds));
  if (answer.account) facts.push(`account ${answer.account}`);
  if (typeof answer.clock_skew_ms === "number" && Math.abs(answer.clock_skew_ms) >= 2000) {
    facts.push(`this host's clock is ${duration(Math.abs(answer.clock_skew_ms) / 1000)} ${answer.clock_skew_ms > 0 ? "ahead" : "behind"}`);
  }
  return { isGood: answer.successful === true, at: stamp(answer.at), detail: answer.detail ?? "", rows, facts };
}
