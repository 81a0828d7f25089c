// Dialogs: the token, a confirmation, and from when to collect again.

import { el } from "./dom.js";
import { hostNow, stamp } from "./format.js";

/** Shows a modal dialog and resolves with what `read` gives when it is confirmed, else null. */
function ask({ title, text, fields = [], confirm, isDangerous = false, read = () => true, focus }) {
  const message = el("p", { class: "error", role: "alert" });
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "dialog-title" }, title),
    text.map((paragraph) => el("p", {}, paragraph)),
    fields,
    message,
    el(
      "div",
      { class: "buttons" },
      el("button", { type: "submit", class: isDangerous ? "danger" : "primary" }, confirm),
      el("button", { type: "button", "data-cancel": true }, "Cancel"),
    ),
  );
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, form);
  document.body.append(dialog);
  const before = document.activeElement;
  return new Promise((resolve) => {
    let result = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        result = read(form);
        dialog.close();
      } catch (error) {
        message.textContent = error.message;
      }
    });
    form.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(result);
    });
    dialog.showModal();
    form.querySelector(focus ?? "[data-cancel]").focus();
  });
}

export function askForToken(problem) {
  return ask({
    title: "Token",
    text: [
      problem,
      "This host requires a token: the content of the file that token in the section [admin] of the settings names. It is kept for this browser tab only.",
    ].filter(Boolean),
    fields: [
      el("label", { for: "token" }, "Token"),
      el("input", { id: "token", type: "password", autocomplete: "off", required: true }),
    ],
    confirm: "Continue",
    focus: "#token",
    read: (form) => {
      const token = form.querySelector("#token").value.trim();
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Error("A token has only visible ASCII characters.");
      return token;
    },
  });
}

export function confirmRemoval(name) {
  return ask({
    title: `Remove ${name}?`,
    text: [
      "Its settings and its secrets are deleted from this host, and collection stops.",
      "Its position is kept: a source that is added again under this name continues from there.",
    ],
    confirm: `Remove ${name}`,
    isDangerous: true,
  });
}

/** Resolves with `{from, streams}`; no stream means all of them. */
export function askForReset(name, streams) {
  const from = stamp(hostNow() - 86_400_000).slice(0, 16);
  return ask({
    title: `Collect again: ${name}`,
    text: [
      "Events from this time on are collected and delivered again, with the same ids, so that receivers that deduplicate store each once. What Mimecast no longer keeps cannot be collected again.",
    ],
    fields: [
      el("label", { for: "from" }, "From (UTC)"),
      el("input", { id: "from", type: "datetime-local", value: from, required: true }),
      el(
        "fieldset",
        {},
        el("legend", {}, "Streams"),
        el("p", { class: "hint" }, "None ticked means all."),
        el(
          "div",
          { class: "checks" },
          streams.map((stream) => el("label", { class: "check" }, el("input", { type: "checkbox", name: "stream", value: stream }), stream)),
        ),
      ),
    ],
    confirm: "Collect again",
    focus: "#from",
    read: (form) => {
      const at = Date.parse(`${form.querySelector("#from").value}Z`);
      if (!Number.isFinite(at)) throw new Error("Enter a date and a time.");
      if (at > hostNow()) throw new Error("This time is in the future.");
      return { from: stamp(at), streams: [...form.querySelectorAll("[name=stream]:checked")].map((box) => box.value) };
    },
  });
}
