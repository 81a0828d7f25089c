// Log types: the streams of the component by family, with the names under
// which the vendor's console and other connectors show them.

const TITLES = {
  siem: "SIEM logs",
  audit: "Audit logs",
  ci: "Cloud Integrated events",
  dlp: "DLP logs",
  ttp: "Targeted Threat Protection logs",
  "held-messages": "Hold Message List",
  "held-release": "Released messages",
  rejections: "Rejected messages",
  remediation: "Remediation incidents",
  archive: "Archive logs",
  "threat-intel": "Threat intelligence",
  training: "Awareness training",
};

const SUMMARIES = {
  siem: "Messages received, processed and delivered, and the threats found in them.",
  ci: "Messages, links and attachments that Cloud Integrated looked at.",
  ttp: "Links, attachments and impersonations.",
  archive: "Searches of the archive, and messages viewed in it.",
  remediation: "Messages removed from mailboxes after their delivery.",
  "threat-intel": "Malware indicators of the organization and of the region.",
  training: "Answers, grades, the watch list and phishing campaigns.",
};

/** The streams that a version of the API has. */
export function offered(streams, api) {
  return streams.filter((stream) => {
    const isLogFiles = stream.endpoint === "/api/audit/get-siem-logs";
    const isBatch = (stream.endpoint ?? "").startsWith("/siem/v1/");
    return api === "1.0" ? !isBatch : !isLogFiles;
  });
}

/** Streams `a.b` and `a.c` are the family `a`; a stream without a dot is its own. */
export function families(streams) {
  const found = new Map();
  for (const stream of streams) {
    const name = stream.name.split(".")[0];
    if (!found.has(name)) found.set(name, { name, streams: [] });
    found.get(name).streams.push(stream);
  }
  return [...found.values()].map((family) => ({
    ...family,
    title: TITLES[family.name] ?? family.name,
    summary: family.streams.length === 1 ? family.streams[0].summary : SUMMARIES[family.name] ?? "",
    permissions: distinct(family.streams.map((stream) => stream.permission)),
    products: distinct(family.streams.map((stream) => stream.product)),
  }));
}

function distinct(values) {
  return [...new Set(values.filter(Boolean))];
}
