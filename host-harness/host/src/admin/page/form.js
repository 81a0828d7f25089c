// The form "Add connector", which is also the one that edits a source. It is
// built once and not refreshed, so that nothing is lost while someone types.
// A secret goes to the host when the form is saved and never comes back.

import { Refused, call, read, sourcePath } from "./api.js";
import { el, update } from "./dom.js";
import { families, offered } from "./families.js";

const NAME = /^(?!\.)[A-Za-z0-9._-]{1,100}$/;
const UNCHANGED = "unchanged";
const REJECTED_RECORDS_OUTPUT = "dead_letter";

const V2 = "2.0";
const V1 = "1.0";
const SETTINGS_OF_V2 = ["client_id", "client_secret", "siem_endpoint", "siem_calls_per_15_min"];
const SETTINGS_OF_V1 = ["app_id", "app_key", "access_key", "secret_key", "account_code", "email", "discovery_url", "siem_file_format", "siem_compress"];

const FIELDS = [
  { name: "client_id", api: V2, label: "Client ID", required: true },
  { name: "client_secret", api: V2, label: "Client Secret", required: true, secret: true },
  { name: "app_id", api: V1, label: "Application ID", required: true, hint: "MIMECAST_APP_ID of other connectors." },
  { name: "app_key", api: V1, label: "Application Key", required: true, secret: true, hint: "MIMECAST_APP_KEY." },
  { name: "access_key", api: V1, label: "Access Key", required: true, secret: true, hint: "MIMECAST_ACCESS_KEY." },
  { name: "secret_key", api: V1, label: "Secret Key", required: true, secret: true, hint: "MIMECAST_SECRET_KEY, in base64: copy it whole, with the equals signs at its end." },
  { name: "account_code", api: V1, label: "Account Code", hint: "MIMECAST_ACCOUNT_CODE, optional: you are warned if the keys belong to another account." },
  { name: "email", api: V1, label: "Email address of the account", hint: "Finds the region. Not needed where the base URL is given.", type: "email" },
];

// The component names them by a pattern.
const HOSTS_OF_V2 = ["https://api.services.mimecast.com", "https://us-api.services.mimecast.com", "https://uk-api.services.mimecast.com"];

const FORMATS = { ecs: "Elastic Common Schema", ocsf: "Open Cybersecurity Schema Framework", raw: "as Mimecast wrote it" };

export function form(app, name) {
  const isNew = name === undefined;
  const title = isNew ? "Add connector" : `Edit ${name}`;
  let state = null;
  let container = null;
  let refusal = "";
  let isSaving = false;

  async function load(signal) {
    const [description, list, stored] = await Promise.all([
      read("/api/v1/describe", signal),
      read("/api/v1/sources?limit=1&offset=0", signal),
      isNew ? null : settingsOf(signal),
    ]);
    if (!isNew && stored?.editable !== true) {
      refusal = stored?.reason || "This source cannot be edited here: it is in the settings file of the host, not in sources_dir.";
      return;
    }
    state = {
      description,
      // That of rejected records is reported too, and no source chooses it.
      outputs: (list.outputs ?? []).map(({ output }) => output).filter((output) => output !== REJECTED_RECORDS_OUTPUT),
      source: stored?.source ?? { enabled: true, settings: {} },
      secrets: stored?.secrets ?? [],
    };
  }

  async function settingsOf(signal) {
    try {
      return await read(sourcePath(name, "/settings"), signal);
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return { editable: false, reason: `There is no source ${name} on this host.` };
      throw error;
    }
  }

  function render() {
    return [
      el("nav", { class: "crumbs", "aria-label": "Path" }, el("a", { href: "#/" }, "Collection status"), " / ",
        !isNew && [el("a", { href: `#/source/${encodeURIComponent(name)}` }, name), " / "], isNew ? title : "Edit"),
      el("h1", { id: "heading", tabindex: "-1" }, title),
      refusal && el("p", { class: "notice warn" }, refusal),
      el("div", { id: "form", "data-update-ignore": true }),
    ];
  }

  function afterRender() {
    const element = document.getElementById("form");
    if (state === null || container === element) return;
    container = element;
    update(container, build(state, isNew, name));
    container.firstChild.addEventListener("submit", (event) => {
      event.preventDefault();
      void save(event.submitter?.value === "check");
    });
    container.firstChild.addEventListener("change", () => syncFields(container, state));
    syncFields(container, state);
  }

  async function save(andCheck) {
    if (isSaving) return;
    const { errors, target, body } = readForm(container, state, isNew ? null : name);
    showErrors(container, errors);
    if (errors.length > 0) return;
    isSaving = true;
    const buttons = [...container.querySelectorAll("button[type=submit]")];
    for (const button of buttons) button.setAttribute("aria-disabled", "true");
    try {
      await call("PUT", sourcePath(target), { body, headers: isNew ? { "If-None-Match": "*" } : {}, timeoutSeconds: 60 });
      for (const input of container.querySelectorAll("input[type=password]")) input.value = "";
      app.go(`#/source/${encodeURIComponent(target)}?${andCheck ? "check" : "saved"}=1`);
    } catch (error) {
      const texts = error.messages ?? [error.message];
      showErrors(container, texts.map((text) => ({ text })));
    } finally {
      isSaving = false;
      for (const button of buttons) button.removeAttribute("aria-disabled");
    }
  }

  return { nav: isNew ? "add" : "sources", title: () => title, refreshes: false, load, render, afterRender, actions: {} };
}

function build({ description, outputs, source, secrets }, isNew, name) {
  const settings = source.settings ?? {};
  const api = settings.api ?? V2;
  return el(
    "form",
    { class: "form", novalidate: true, autocomplete: "off" },
    el("div", { id: "errors", role: "alert" }),
    isNew
      ? field({ name: "name", label: "Connector name", required: true, hint: "Letters, digits, “-”, “_” and “.”. It is also the name of the tenant in every event." }, "")
      : el("p", {}, "The name of a source cannot be changed: ", el("b", {}, name), "."),
    el(
      "fieldset",
      {},
      el("legend", {}, "API version"),
      radio("api", V2, "API 2.0", api, "Client ID and Client Secret of an API 2.0 application."),
      radio("api", V1, "API 1.0", api, "The keys of an existing application. Mimecast has issued no new ones since June 2025."),
    ),
    el(
      "fieldset",
      {},
      el("legend", {}, "Credentials"),
      el("p", { class: "hint" }, "Secrets are written to a file on this host that only its user can read. They are never shown again."),
      FIELDS.map((one) => {
        const isSet = one.secret && secrets.includes(one.name);
        return field({ ...one, isSet }, one.secret ? "" : textOf(settings[one.name]));
      }),
    ),
    el(
      "fieldset",
      {},
      el("legend", {}, "Region"),
      field({ name: "base_url", label: "Base URL", list: "hosts", hint: "Optional. API 2.0: the global host finds the region; a regional one keeps the data there. API 1.0: like https://eu-api.mimecast.com." }, textOf(settings.base_url)),
      el("datalist", { id: "hosts" }),
    ),
    logTypes(description, settings.streams, api),
    el(
      "fieldset",
      {},
      el("legend", {}, "Events"),
      el(
        "div",
        { class: "field" },
        el("label", { for: "format" }, "Format"),
        el("select", { id: "format", name: "format" }, (description.formats ?? ["ecs"]).map((format) =>
          el("option", { value: format, selected: format === (settings.format ?? "ecs") }, `${format}: ${FORMATS[format] ?? ""}`))),
      ),
      isNew && field({ name: "start", label: "Collect from", hint: "Optional. How far back to begin, like 24h or 7d, or an RFC 3339 time. Without it: 24h." }, ""),
      outputs.length > 1 && outputChoice(outputs, source.outputs),
    ),
    el(
      "div",
      { class: "buttons" },
      el("button", { type: "submit", value: "check", class: "primary" }, "Save and test connection"),
      el("button", { type: "submit", value: "save" }, "Save"),
      el("a", { class: "button", href: isNew ? "#/" : `#/source/${encodeURIComponent(name)}` }, "Cancel"),
    ),
  );
}

function textOf(value) {
  return typeof value === "string" ? value : "";
}

function field({ name, label, required, secret, hint, list, type, api, isSet }, value) {
  return el(
    "div",
    { class: "field", "data-api": api },
    el("label", { for: name }, label, !required && api && " ", !required && api && el("span", { class: "quiet" }, "(optional)")),
    el("input", {
      id: name,
      name,
      type: secret ? "password" : type ?? "text",
      value,
      list,
      required: required && !isSet,
      placeholder: isSet ? UNCHANGED : null,
      autocomplete: secret ? "new-password" : "off",
      autocapitalize: "none",
      spellcheck: "false",
      "aria-describedby": [hint || isSet ? `${name}-hint` : "", `${name}-error`].join(" ").trim(),
    }),
    (hint || isSet) && el("p", { class: "hint", id: `${name}-hint` }, isSet ? `Leave it empty to keep it ${UNCHANGED}. ${hint ?? ""}` : hint),
    el("p", { class: "error", id: `${name}-error` }),
  );
}

function radio(name, value, label, chosen, hint) {
  const id = `${name}-${value}`;
  return el(
    "div",
    { class: "choice" },
    el("input", { type: "radio", id, name, value, checked: value === chosen, "aria-describedby": `${id}-hint` }),
    el("label", { for: id }, label),
    el("p", { class: "hint", id: `${id}-hint` }, hint),
  );
}

function logTypes(description, chosen, api) {
  const isAll = !Array.isArray(chosen);
  const ticked = new Set(chosen ?? []);
  const isTicked = (family, stream) => ticked.has(family) || ticked.has(stream);
  return el(
    "fieldset",
    { id: "log-types" },
    el("legend", {}, "Log types"),
    radio("log-types", "all", "All that the credentials permit", isAll ? "all" : "some", "Log types without a permission are reported and skipped."),
    radio("log-types", "some", "Only these", isAll ? "all" : "some", "A missing permission of one of these is a failure of the connection test."),
    el(
      "div",
      { id: "families", class: "families" },
      [V2, V1].flatMap((version) =>
        families(offered(description.streams ?? [], version)).map((family) => {
          const id = `${version}-${family.name}`;
          const only = family.streams.length === 1;
          const box = (stream, isFamily) =>
            el("input", {
              type: "checkbox",
              id: isFamily ? id : `${version}-${stream}`,
              value: stream,
              checked: version === api && isTicked(family.name, stream),
              "data-family": isFamily ? null : family.name,
              "data-role": isFamily ? "family" : "stream",
              "aria-describedby": isFamily ? `${id}-hint` : null,
            });
          return el(
            "div",
            { class: "family", "data-api": version, role: "group", "aria-labelledby": `${id}-label` },
            el("div", { class: "check" }, box(only ? family.streams[0].name : family.name, true),
              el("label", { for: id, id: `${id}-label` }, el("b", {}, family.title), " ", el("code", {}, family.name))),
            el("p", { class: "hint", id: `${id}-hint` }, family.summary, " Permission: ", el("span", { class: "path" }, family.permissions.join("; ")), family.products.length > 0 && ` (product: ${family.products.join(", ")})`),
            !only &&
              el(
                "details",
                {},
                el("summary", {}, `${family.streams.length} types`),
                el("div", { class: "checks" }, family.streams.map((stream) =>
                  el("label", { class: "check", title: stream.summary }, box(stream.name, false), stream.name))),
              ),
          );
        }),
      ),
    ),
    el("p", { class: "error", id: "log-types-error" }),
  );
}

function outputChoice(outputs, chosen) {
  return el(
    "fieldset",
    { class: "inner" },
    el("legend", {}, "Outputs"),
    el("p", { class: "hint" }, "None ticked means all."),
    el("div", { class: "checks" }, outputs.map((output) =>
      el("label", { class: "check" }, el("input", { type: "checkbox", name: "output", value: output, checked: (chosen ?? []).includes(output) }), output))),
  );
}

/** Shows what belongs to the chosen API, and keeps families and their types in step. */
function syncFields(container, { description }) {
  const api = container.querySelector("[name=api]:checked").value;
  for (const node of container.querySelectorAll("[data-api]")) node.hidden = node.getAttribute("data-api") !== api;
  container.querySelector("#families").hidden = container.querySelector("[name=log-types]:checked").value === "all";
  const origins = (description.origins ?? []).filter((origin) => !origin.includes("*"));
  const isOfV1 = (origin) => /-api\.mimecast/.test(origin);
  update(container.querySelector("#hosts"), ...(api === V1 ? origins.filter(isOfV1) : HOSTS_OF_V2).map((origin) => el("option", { value: origin })));
  for (const family of container.querySelectorAll(".family")) {
    const familyBox = family.querySelector("[data-role=family]");
    const types = [...family.querySelectorAll("[data-role=stream]")];
    if (types.length === 0) continue;
    // A family that was just ticked ticks its types; a type decides about its family.
    if (familyBox.dataset.was !== String(familyBox.checked) && familyBox.dataset.was !== undefined) {
      for (const type of types) type.checked = familyBox.checked;
    }
    const count = types.filter((type) => type.checked).length;
    familyBox.checked = count === types.length;
    familyBox.indeterminate = count > 0 && count < types.length;
    familyBox.dataset.was = String(familyBox.checked);
  }
}

/** Reads the form. Removes the settings that only the other API has, also those that the form does not show; apart from that, only what it shows is changed. */
function readForm(container, { source, secrets }, name) {
  const errors = [];
  const value = (id) => container.querySelector(`#${id}`)?.value.trim() ?? "";
  const api = container.querySelector("[name=api]:checked").value;
  const target = name ?? value("name");
  if (name === null && !NAME.test(target)) {
    errors.push({ id: "name", text: target === "" ? "Enter a name." : "A name has letters, digits, “-”, “_” and “.”, at most 100, and does not begin with “.”." });
  }
  const settings = { ...source.settings };
  // The host keeps a secret that is left out; `null` removes it.
  for (const other of api === V2 ? SETTINGS_OF_V1 : SETTINGS_OF_V2) {
    if (secrets.includes(other)) settings[other] = null;
    else delete settings[other];
  }
  if (api === V1 || settings.api !== undefined) settings.api = api;
  for (const one of FIELDS.filter((one) => one.api === api)) {
    const text = value(one.name);
    if (text !== "") settings[one.name] = text;
    else if (one.secret ? !secrets.includes(one.name) : one.required) errors.push({ id: one.name, text: `Enter the ${one.label}.` });
    else if (!one.secret) delete settings[one.name];
  }
  const url = value("base_url");
  if (url !== "") settings.base_url = url;
  else delete settings.base_url;
  if (api === V1 && url === "" && settings.email === undefined) {
    errors.push({ id: "email", text: "Enter the email address of the account, or the base URL." });
  }
  const streams = chosenStreams(container, api);
  if (streams === null) delete settings.streams;
  else if (streams.length === 0) errors.push({ id: "log-types", text: "Tick at least one log type." });
  else settings.streams = streams;
  settings.format = value("format");
  if (name === null && value("start") !== "") settings.start = value("start");
  const body = { ...source, enabled: source.enabled ?? true, settings };
  const boxes = [...container.querySelectorAll("[name=output]")];
  if (boxes.length > 0) {
    const outputs = boxes.filter((box) => box.checked).map((box) => box.value);
    if (outputs.length > 0) body.outputs = outputs;
    else delete body.outputs;
  }
  return { errors, target, body };
}

/** The names of families and streams, or null where all are wanted. */
function chosenStreams(container, api) {
  if (container.querySelector("[name=log-types]:checked").value === "all") return null;
  const names = [];
  for (const family of container.querySelectorAll(".family")) {
    if (family.getAttribute("data-api") !== api) continue;
    const familyBox = family.querySelector("[data-role=family]");
    if (familyBox.checked) names.push(familyBox.value);
    else names.push(...[...family.querySelectorAll("[data-role=stream]:checked")].map((box) => box.value));
  }
  return names;
}

function showErrors(container, errors) {
  for (const node of container.querySelectorAll(".error")) node.textContent = "";
  for (const node of container.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
  const list = [];
  for (const { id, text } of errors) {
    const input = id && container.querySelector(`#${id}`);
    if (id) container.querySelector(`#${id}-error`).textContent = text;
    if (input) input.setAttribute("aria-invalid", "true");
    if (!id) list.push(text);
  }
  update(
    container.querySelector("#errors"),
    ...(list.length > 0
      ? [el("div", { class: "notice bad", id: "refused", tabindex: "-1" }, el("div", {}, el("p", {}, el("b", {}, "Not saved.")), list.map((text) => el("p", {}, text))))]
      : []),
  );
  const first = errors.find(({ id }) => id);
  if (first?.id === "log-types") container.querySelector("#log-types-some, [name=log-types]:checked").focus();
  else if (first) container.querySelector(`#${first.id}`).focus();
  else if (list.length > 0) container.querySelector("#refused").focus();
}
