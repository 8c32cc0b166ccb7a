// The symbol switcher: a dialog with a filter and a list, the ARIA combobox pattern. Followed symbols come first, then
// every listed symbol that matches; choosing one that is not followed yet makes the server follow it.

import { $, make, setAttribute, setDirection, write } from "./dom.js";
import { UNKNOWN, direction, exact, pair, percentChange } from "./format.js";
import { panel } from "./paint.js";
import { state } from "./store.js";

const MOST = 60;

let options = []; // [{name, node, last, change}]
let active = 0;
let choose = () => {};
let needRules = async () => {};

export function startSwitcher(given) {
  choose = given.chooseSymbol;
  needRules = given.needRules;
  $("switcher-open").addEventListener("click", openSwitcher);
  const filter = $("switcher-filter");
  filter.addEventListener("input", rebuild);
  filter.addEventListener("keydown", moved);
  $("switcher-list").addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) take(option.dataset.symbol);
  });
  $("switcher").addEventListener("click", (event) => {
    if (event.target === $("switcher")) $("switcher").close();
  });
  panel({ topics: ["prices", "switcher"], paint: paintPrices, everyMs: 500, visible: () => $("switcher").open });
}

export async function openSwitcher() {
  if ($("switcher").open) return;
  $("switcher-filter").value = "";
  $("switcher").showModal();
  rebuild();
  $("switcher-filter").focus();
  await needRules();
  if ($("switcher").open) rebuild();
}

function matches() {
  const wanted = $("switcher-filter").value.trim().toUpperCase().replace("/", "");
  const followed = [...state.prices.keys()];
  const all = [...followed, ...[...state.rules.keys()].filter((name) => !state.prices.has(name)).sort()];
  const found = all.filter((name) => name.includes(wanted));
  // What begins with the typed letters comes before what merely contains them.
  return { wanted, found: [...found.filter((name) => name.startsWith(wanted)), ...found.filter((name) => !name.startsWith(wanted))] };
}

function rebuild() {
  const { wanted, found } = matches();
  options = found.slice(0, MOST).map((name) => makeOption(name, wanted));
  $("switcher-list").replaceChildren(...options.map((option) => option.node));
  active = Math.max(0, wanted ? 0 : options.findIndex((option) => option.name === state.symbol));
  mark();
  const foot = $("switcher-foot");
  if (!found.length) {
    const clear = make("button", { type: "button" }, "Clear the filter");
    clear.addEventListener("click", () => {
      $("switcher-filter").value = "";
      rebuild();
      $("switcher-filter").focus();
    });
    foot.replaceChildren("No symbol matches. ", clear);
  } else {
    foot.replaceChildren(found.length > MOST ? `First ${MOST} of ${found.length}. Type to narrow.` : `${found.length} symbols`);
  }
  paintPrices();
}

function makeOption(name, wanted) {
  const rules = state.rules.get(name);
  const title = make("span", {}, make("b", {}, ...highlighted(pair(rules, name), name, wanted)));
  if (rules && rules.status !== "TRADING") title.append(make("small", {}, rules.status.toLowerCase()));
  const last = make("span", { class: "num" });
  const change = make("span", { class: "num" });
  const node = make("div", { class: "option", role: "option", id: `option-${name}`, "data-symbol": name }, title, last, change);
  return { name, node, last, change };
}

// The letters that matched, marked, when they fall within one side of the slash.
function highlighted(shown, name, wanted) {
  const at = wanted ? shown.indexOf(wanted) : -1;
  if (at < 0) return [shown];
  return [shown.slice(0, at), make("span", { class: "hit" }, wanted), shown.slice(at + wanted.length)];
}

function paintPrices() {
  for (const option of options) {
    const row = state.prices.get(option.name);
    write(option.last, row?.price ? exact(row.price, state.rules.get(option.name)?.priceDecimals ?? 0) : UNKNOWN);
    write(option.change, percentChange(row?.change_percent_24h));
    setDirection(option.change, direction(row?.change_percent_24h));
  }
}

function moved(event) {
  if (event.key === "Enter") {
    event.preventDefault();
    if (options[active]) take(options[active].name);
    return;
  }
  const to = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + 8, PageUp: active - 8 }[event.key];
  if (to === undefined || !options.length) return;
  event.preventDefault();
  active = Math.min(options.length - 1, Math.max(0, to));
  mark();
}

function mark() {
  options.forEach((option, at) => setAttribute(option.node, "aria-selected", String(at === active)));
  const chosen = options[active]?.node;
  setAttribute($("switcher-filter"), "aria-activedescendant", chosen?.id ?? "");
  chosen?.scrollIntoView({ block: "nearest" });
}

function take(name) {
  $("switcher").close();
  if (name !== state.symbol) choose(name);
}
