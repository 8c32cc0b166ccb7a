// The few words we need for the document: find, make, and write text or classes only when they change.

export function $(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`no element #${id}`);
  return node;
}

// make("td", {class: "num"}, "text", child, …)
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const ICONS = "http://www.w3.org/2000/svg";

// An icon of the sprite in index.html.
export function icon(name) {
  const svg = document.createElementNS(ICONS, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(ICONS, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// Write an element's text through one text node, made once, and only if it differs.
export function write(node, text) {
  let first = node.firstChild;
  if (!first) {
    first = document.createTextNode("");
    node.append(first);
  }
  if (first.data !== text) first.data = text;
}

export function setClass(node, name, on) {
  if (node.classList.contains(name) !== on) node.classList.toggle(name, on);
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

export function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Colour by sign: classes "up" and "down".
export function setDirection(node, sign) {
  setClass(node, "up", sign > 0);
  setClass(node, "down", sign < 0);
}
