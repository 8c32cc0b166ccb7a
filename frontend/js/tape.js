// Recent prints of the chosen symbol, newest on top. Rows are made once and rewritten.

import { $, make, setClass, setHidden, write } from "./dom.js";
import { decimal } from "./decimal.js";
import { clock, exact } from "./format.js";
import { panel } from "./paint.js";
import { state, touch } from "./store.js";
import { isPanelShown } from "./views.js";

const ROWS = 24;
const LARGE = 8; // a print this many times the median of those shown is set bold

const ROW_PX = 19;

const rows = [];
let rowsThatFit = ROWS;

export function startTape() {
  for (let index = 0; index < ROWS; index += 1) {
    const row = {
      node: make("div", { class: "print" }),
      at: make("span", { class: "at" }),
      size: make("span", { class: "size" }),
      when: make("span", { class: "when" }),
    };
    row.node.append(row.at, row.size, row.when);
    rows.push(row);
  }
  $("tape").append(...rows.map((row) => row.node));
  new ResizeObserver(([entry]) => {
    rowsThatFit = Math.min(ROWS, Math.ceil(entry.contentRect.height / ROW_PX));
    touch("view");
  }).observe($("tape"));
  const visible = () => isPanelShown("trades");
  panel({ topics: ["trades", "symbol", "rules", "view"], paint, everyMs: 200, visible });
}

function paint() {
  const rules = state.rules.get(state.symbol);
  const shown = state.tape.slice(0, ROWS);
  const sizes = shown.map((print) => decimal(print.quantity)?.approximate ?? 0);
  const median = [...sizes].sort((one, other) => one - other)[sizes.length >> 1] ?? 0;
  setHidden($("tape-empty"), shown.length > 0);
  for (let index = 0; index < rowsThatFit; index += 1) {
    const row = rows[index];
    const print = shown[index];
    write(row.at, print ? exact(print.price, rules?.priceDecimals ?? 0) : "");
    write(row.size, print ? exact(print.quantity, rules?.quantityDecimals ?? 0) : "");
    write(row.when, print ? clock(print.time_ms) : "");
    setClass(row.node, "buy", print?.side === "buy");
    setClass(row.node, "large", Boolean(print) && shown.length > 8 && sizes[index] > LARGE * median);
  }
}
