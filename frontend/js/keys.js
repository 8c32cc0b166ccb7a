// Keyboard shortcuts. Silent while typing, while a dialog is open, and with Ctrl, Alt or Meta held.

import { $ } from "./dom.js";

export function startKeys(actions) {
  $("keys-open").addEventListener("click", () => $("keys").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    const name = event.shiftKey && event.key.toLowerCase() === "x" ? "cancelAll" : KEYS[event.key.toLowerCase()];
    if (!name || actions[name]() === false) return;
    event.preventDefault();
  });
}

const KEYS = { "/": "symbols", b: "buy", s: "sell", l: "limit", m: "market", x: "cancel", "?": "help" };

function typing(target) {
  return target.matches("input:not([type=radio], [type=checkbox]), select, textarea, [contenteditable]");
}
