// On a phone the ticket lives in a sheet from below: the same element, moved into a dialog while it is wanted.

import { $ } from "./dom.js";
import { isPhone } from "./views.js";

export function startSheet({ chooseSide }) {
  $("trade-bar").addEventListener("click", (event) => {
    const side = event.target.closest("[data-open]")?.dataset.open;
    if (!side) return;
    chooseSide(side);
    openSheet();
  });
  $("sheet").addEventListener("close", putBack);
  $("sheet").addEventListener("click", (event) => {
    if (event.target === $("sheet")) $("sheet").close();
  });
}

export function openSheet() {
  if (!isPhone() || $("sheet").open) return;
  $("sheet").append($("ticket"));
  $("sheet").showModal();
}

// The screen was turned or widened: the ticket goes back to its column.
export function closeSheet() {
  if ($("sheet").open) $("sheet").close();
}

function putBack() {
  $("dock").before($("ticket"));
}
