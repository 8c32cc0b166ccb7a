// Under the ticket: the position in the chosen symbol and what is free and held of its two assets.

import { $, make, setDirection, setHidden, write } from "./dom.js";
import { decimal } from "./decimal.js";
import { unrealised } from "./dock.js";
import { UNKNOWN, cut, direction, exact, rounded } from "./format.js";
import { panel } from "./paint.js";
import { quoteDecimals } from "./rules.js";
import { balanceOf, state } from "./store.js";

export function startHolding({ closePosition }) {
  $("holding-close").addEventListener("click", () => closePosition(state.portfolio.positions[state.symbol]));
  panel({ topics: ["portfolio", "symbol", "rules"], paint: paintPosition, everyMs: 200 });
  panel({ topics: ["portfolio", "symbol", "rules"], paint: paintFunds, everyMs: 200 });
}

function paintPosition() {
  const rules = state.rules.get(state.symbol);
  const position = state.portfolio?.positions?.[state.symbol];
  const held = position && decimal(position.quantity)?.sign ? position : null;
  setHidden($("holding-close"), !held);
  write($("holding-size"), held && rules ? `${exact(held.quantity, rules.quantityDecimals)} ${rules.base}` : UNKNOWN);
  write($("holding-entry"), held ? rounded(held.average_price, rules?.priceDecimals ?? 2) : UNKNOWN);
  write($("holding-value"), held ? `${rounded(held.market_value, 2)} USDT` : UNKNOWN);
  write($("holding-pnl"), held ? unrealised(held) : UNKNOWN);
  setDirection($("holding-pnl"), held ? direction(held.unrealized_pnl) : 0);
}

function paintFunds() {
  const rules = state.rules.get(state.symbol);
  if (!rules) return;
  const rows = [
    [rules.quote, quoteDecimals(rules)],
    [rules.base, rules.quantityDecimals],
  ].map(([asset, decimals]) => fundsRow(asset, decimals));
  $("funds").replaceChildren(...rows);
}

function fundsRow(asset, decimals) {
  const balance = balanceOf(asset);
  const amount = (field) => (state.portfolio ? cut(balance?.[field] ?? "0", decimals) : UNKNOWN);
  const title = balance ? `${exact(balance.free, 2)} free, ${exact(balance.locked, 2)} held` : "";
  const held = make("span", { class: "quiet" }, ` / ${amount("locked")}`);
  return make("div", {}, make("dt", {}, asset), make("dd", { title }, amount("free"), held));
}
