// The theme switch: system, dark, light. theme.js has set the remembered one before the first paint.

import { $, setAttribute } from "./dom.js";
import { touch } from "./store.js";

const ORDER = ["system", "dark", "light"];
const WORDS = { system: "as the system", dark: "dark", light: "light" };

export function startAppearance() {
  show();
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = ORDER[(ORDER.indexOf(root.dataset.theme) + 1) % ORDER.length];
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // Not remembered, that is all.
    }
    show();
    touch("theme");
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => touch("theme"));
}

function show() {
  const theme = document.documentElement.dataset.theme;
  setAttribute($("theme-icon"), "href", `#i-${theme}`);
  setAttribute($("theme"), "aria-label", `Theme: ${WORDS[theme]}. Change`);
  setAttribute($("theme"), "title", `Theme: ${WORDS[theme]}`);
}
