// Elements without HTML text: what comes from the API becomes text nodes and
// attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. An attribute that is null, undefined or false is left out; `true` is the empty text. */
export function el(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** A list of facts, each a name with its value. */
export function factList(facts) {
  return el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...nodes(children));
  return node;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/**
 * Makes the children of `parent` equal to `children` and keeps the nodes that
 * are there already, so that focus, selection, scroll position and open
 * details survive a refresh. Rows that move are recognized by `data-key`. The
 * inside of a node with `data-update-ignore` belongs to other code and is not touched.
 */
export function update(parent, ...children) {
  const wanted = nodes(children);
  const byKey = new Map();
  const keys = new Set(wanted.map(keyOf));
  // What goes is removed first: to move a node that stays would take the focus from it.
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (key === null) continue;
    if (keys.has(key)) byKey.set(key, child);
    else child.remove();
  }
  const kept = new Set();
  let cursor = parent.firstChild;
  for (const node of wanted) {
    while (cursor && kept.has(cursor)) cursor = cursor.nextSibling;
    const key = keyOf(node);
    const old = key === null ? cursor : byKey.get(key);
    if (old && !kept.has(old) && keyOf(old) === key && isAlike(old, node)) {
      kept.add(old);
      if (old === cursor) cursor = cursor.nextSibling;
      else parent.insertBefore(old, cursor);
      morph(old, node);
    } else {
      kept.add(node);
      parent.insertBefore(node, cursor);
    }
  }
  for (const child of [...parent.childNodes]) if (!kept.has(child)) child.remove();
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function isAlike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName;
}

function morph(old, node) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== node.nodeValue) old.nodeValue = node.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !node.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of node.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (!node.hasAttribute("data-update-ignore")) update(old, ...node.childNodes);
}

let announced = "";

/** Lets a screen reader read a text. The same text again is not repeated. */
export function announce(text) {
  if (text === announced) return;
  announced = text;
  document.getElementById("announcement").textContent = text;
}
