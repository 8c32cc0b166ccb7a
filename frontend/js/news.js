// What became of our orders, told once: a toast and a sentence for fills, a sentence for orders that ended, and the
// "last event" at the foot of the dock.

import { decimal } from "./decimal.js";
import { listeners } from "./feed.js";
import { exact, grouped, pair, sideWord } from "./format.js";
import { isOpen, serverNow, state, touch } from "./store.js";
import { say, toast } from "./toasts.js";

export function startNews() {
  listeners.filled = filled;
  listeners.ended = ended;
}

// fills: new to the page, newest first; order: the one they belong to, null for those found after a lost connection.
function filled({ fills, order }) {
  const [first] = fills;
  const sameOrder = fills.every((fill) => fill.order_id === first.order_id);
  const title = sameOrder ? fillTitle(fills, order) : `${fills.length} fills while the connection was lost`;
  toast({ key: `order ${first.order_id}`, tone: "good", title, detail: sameOrder ? fillDetail(fills, order) : "See Fills." });
  state.lastEvent = { ms: Date.parse(first.filled_at), text: `${title} \u00b7 ${first.liquidity}` };
  touch("orders");
}

function fillTitle(fills, order) {
  const [first] = fills;
  const rules = state.rules.get(first.symbol);
  const decimals = rules?.priceDecimals ?? 0;
  const size = grouped(total(fills, "quantity").trimmed());
  const at = exact(fills.length === 1 ? first.price : (order?.average_price ?? first.price), decimals);
  return `${first.side === "buy" ? "Bought" : "Sold"} ${size} ${rules?.base ?? first.symbol} at ${at}`;
}

function fillDetail(fills, order) {
  const [first] = fills;
  const role = first.liquidity === "maker" ? "Maker" : "Taker";
  const words = [`${role}, fee ${exact(total(fills, "fee"), 2)} ${first.fee_asset}.`];
  if (fills.length > 1) words.push(`${fills.length} fills.`);
  if (order && isOpen(order)) {
    const left = decimal(order.quantity)?.minus(decimal(order.filled_quantity));
    if (left) words.push(`${grouped(left.trimmed())} still resting.`);
  }
  return words.join(" ");
}

function total(fills, field) {
  return fills.map((fill) => decimal(fill[field])).reduce((sum, each) => sum.plus(each));
}

// An order that left the book. Fills have told of themselves already.
function ended(order) {
  if (order.status === "filled") return;
  const text = `${sideWord(order.side)} ${pair(state.rules.get(order.symbol), order.symbol)} ${order.status}`;
  say(`order ${order.id}`, text);
  state.lastEvent = { ms: serverNow(), text };
  touch("orders");
}
