// Which panels can be seen: the tabs of the phone and of the middle width. Panels ask here before they paint.

import { $, setAttribute } from "./dom.js";
import { touch } from "./store.js";

const phone = window.matchMedia("(width < 800px)");
const middle = window.matchMedia("(800px <= width < 1200px)");

export function isPhone() {
  return phone.matches;
}

export function isPanelShown(name) {
  const main = $("terminal").dataset;
  if (phone.matches) return main.panel === name || (name === "book" && main.panel === "chart");
  if (middle.matches && name !== "chart") return main.side === "book";
  return true;
}

export function startViews({ resized }) {
  tabs(document.querySelector(".panel-tabs"), (tab) => {
    $("terminal").dataset.panel = tab.dataset.panel;
    touch("view");
  });
  tabs(document.querySelector(".side-tabs"), (tab) => showSide(tab.dataset.side));
  for (const query of [phone, middle]) {
    query.addEventListener("change", () => {
      resized();
      touch("view");
    });
  }
}

// Bring the ticket to the front where it shares its place with the book.
export function showSide(side) {
  $("terminal").dataset.side = side;
  for (const tab of document.querySelectorAll(".side-tabs [role=tab]")) select(tab, tab.dataset.side === side);
  touch("view");
}

// The ARIA tabs pattern: one tab stop, arrows move and choose.
export function tabs(list, chosen) {
  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) choose(list, tab, chosen);
  });
  list.addEventListener("keydown", (event) => {
    const all = [...list.querySelectorAll("[role=tab]")];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = all[(to + all.length) % all.length];
    tab.focus();
    choose(list, tab, chosen);
  });
}

function choose(list, tab, chosen) {
  for (const each of list.querySelectorAll("[role=tab]")) select(each, each === tab);
  chosen(tab);
}

function select(tab, on) {
  setAttribute(tab, "aria-selected", String(on));
  tab.tabIndex = on ? 0 : -1;
}
