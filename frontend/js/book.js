// The order book: twenty rows a side, made once. The best price is the row next to the middle; what does not fit is
// clipped. Pressing a price or a size offers it to the ticket, unless the row's price moved under the finger.

import { $, make, setAttribute, setClass, setDirection, setHidden, write } from "./dom.js";
import { ZERO, decimal } from "./decimal.js";
import { UNKNOWN, age, exact, grouped } from "./format.js";
import { panel } from "./paint.js";
import { bookState, openOrders, serverNow, state, touch } from "./store.js";
import { isPanelShown, isPhone } from "./views.js";

const DEPTH = 20;
const ROW_PX = 20;
const NOTES = {
  syncing: "Syncing the book",
  stale: "No update for",
  down: "No connection to the venue",
  offline: "No connection to the server",
};

let asks;
let bids;
let pressed = null;
let rowsThatFit = DEPTH;

// choose({price, amount, side}) is called with the row's texts; `amount` only when its size was pressed.
export function startBook({ choose, voided }) {
  asks = makeSide($("asks"));
  bids = makeSide($("bids"));
  const book = $("book");
  book.addEventListener("pointerdown", (event) => {
    pressed = rowOf(event.target)?.shown ?? null;
  });
  book.addEventListener("click", (event) => {
    const row = rowOf(event.target);
    if (!row?.shown || row.shown === UNKNOWN) return;
    if (pressed !== null && pressed !== row.shown) return voided();
    const size = event.target.closest(".amount") !== null;
    choose({ price: row.price, amount: size ? row.quantity : null, side: row.side });
  });
  new ResizeObserver(([entry]) => {
    rowsThatFit = isPhone() ? DEPTH : Math.min(DEPTH, Math.ceil(entry.contentRect.height / 2 / ROW_PX));
    touch("view");
  }).observe(book);
  const visible = () => isPanelShown("book");
  panel({ topics: ["book", "symbol", "orders", "rules", "link", "status", "view"], paint: paintBook, everyMs: 100, visible });
  panel({ topics: ["clock", "book", "link", "status"], paint: paintNote, everyMs: 200, visible });
}

function makeSide(container) {
  const rows = [];
  for (let index = 0; index < DEPTH; index += 1) {
    const row = { node: make("div", { class: "level" }), shown: null };
    row.bar = make("i");
    row.at = make("span", { class: "at" });
    row.amount = make("span", { class: "amount" });
    row.sum = make("span", { class: "sum" });
    row.mine = make("span", { class: "mine", hidden: true });
    row.side = container.id === "asks" ? "ask" : "bid";
    row.node.append(row.bar, row.at, row.amount, row.sum, row.mine);
    row.node.row = row;
    container.append(row.node);
    rows.push(row);
  }
  return rows;
}

function rowOf(target) {
  return target.closest(".level")?.row ?? null;
}

function paintBook() {
  const rules = state.rules.get(state.symbol);
  const book = state.books.get(state.symbol);
  write($("book-price-title"), rules ? `Price (${rules.quote})` : "Price");
  write($("book-amount-title"), rules ? `Amount (${rules.base})` : "Amount");
  setClass($("book-panel"), "drained", bookState() !== "live");
  const places = { price: rules?.priceDecimals ?? 0, quantity: rules?.quantityDecimals ?? 0 };
  const own = ownSizes();
  const askSums = sums(book?.asks ?? []);
  const bidSums = sums(book?.bids ?? []);
  const most = Math.max(...[askSums, bidSums].map((totals) => totals.slice(0, rowsThatFit).at(-1)?.approximate ?? 0));
  paintSide(asks, book?.asks ?? [], askSums, most, places, own.sell);
  paintSide(bids, book?.bids ?? [], bidSums, most, places, own.buy);
  paintMiddle(book, places);
  paintBalance(askSums.at(-1), bidSums.at(-1));
}

// Cumulative sizes from the best level outwards, exact.
function sums(levels) {
  const found = [];
  let total = ZERO;
  for (const [, quantity] of levels.slice(0, DEPTH)) {
    total = total.plus(decimal(quantity) ?? ZERO);
    found.push(total);
  }
  return found;
}

function paintSide(rows, levels, totals, most, places, own) {
  for (let index = 0; index < rowsThatFit; index += 1) {
    const row = rows[index];
    const level = levels[index];
    setClass(row.node, "vacant", !level);
    row.price = level?.[0] ?? null;
    row.quantity = level?.[1] ?? null;
    const shown = level ? exact(level[0], places.price) : "";
    row.shown = shown;
    write(row.at, shown);
    write(row.amount, level ? exact(level[1], places.quantity) : "");
    write(row.sum, level ? grouped(totals[index].to(Math.min(places.quantity, 4))) : "");
    const share = level && most > 0 ? totals[index].approximate / most : 0;
    const transform = `scaleX(${share.toFixed(3)})`;
    if (row.transform !== transform) row.bar.style.transform = row.transform = transform;
    const mine = level ? own.get(row.shown) : undefined;
    setClass(row.node, "own", mine !== undefined);
    setHidden(row.mine, mine === undefined);
    if (mine) write(row.mine, grouped(mine.trimmed()));
  }
}

// What we rest at each shown price, by side.
function ownSizes() {
  const own = { buy: new Map(), sell: new Map() };
  const places = state.rules.get(state.symbol)?.priceDecimals ?? 0;
  for (const order of openOrders()) {
    if (order.symbol !== state.symbol || !order.price) continue;
    const at = exact(order.price, places);
    const left = decimal(order.quantity)?.minus(decimal(order.filled_quantity) ?? ZERO) ?? ZERO;
    const sizes = own[order.side];
    sizes.set(at, left.plus(sizes.get(at) ?? ZERO));
  }
  return own;
}

function paintMiddle(book, places) {
  const last = state.tape[0];
  const lastText = last?.price ?? state.prices.get(state.symbol)?.price ?? null;
  write($("book-last"), lastText ? exact(lastText, places.price) : UNKNOWN);
  setDirection($("book-last"), last ? (last.side === "buy" ? 1 : -1) : 0);
  setHidden($("book-arrow"), !last);
  setAttribute($("book-arrow-use"), "href", last?.side === "sell" ? "#i-down" : "#i-up");
  setDirection($("book-arrow"), last ? (last.side === "buy" ? 1 : -1) : 0);
  const mid = middleOf(book);
  write($("book-mid"), mid ? grouped(mid.trimmed(places.price)) : UNKNOWN);
  const spread = spreadOf(book);
  write($("book-spread"), spread ? `spread ${exact(spread, places.price)}` : "");
}

export function middleOf(book) {
  const [bid, ask] = topOf(book);
  return bid && ask ? bid.plus(ask).over(TWO, Math.max(bid.scale, ask.scale) + 1) : null;
}

export function spreadOf(book) {
  const [bid, ask] = topOf(book);
  return bid && ask ? ask.minus(bid) : null;
}

const TWO = decimal("2");

function topOf(book) {
  return [decimal(book?.bids?.[0]?.[0]), decimal(book?.asks?.[0]?.[0])];
}

function paintBalance(askTotal, bidTotal) {
  const whole = (askTotal?.approximate ?? 0) + (bidTotal?.approximate ?? 0);
  const share = whole > 0 ? (bidTotal?.approximate ?? 0) / whole : null;
  write($("imbalance-bids"), share === null ? `Bids ${UNKNOWN}` : `Bids ${Math.round(share * 100)}%`);
  write($("imbalance-asks"), share === null ? `${UNKNOWN} Asks` : `${100 - Math.round(share * 100)}% Asks`);
  $("imbalance-bar").style.transform = `scaleX(${(share ?? 0.5).toFixed(3)})`;
}

function paintNote() {
  const condition = bookState();
  const starting = state.link.phase === "connecting" && !state.link.lost;
  setHidden($("book-note"), condition === "live" || starting);
  if (condition === "live" || starting) return;
  const updated = state.books.get(state.symbol)?.updatedMs;
  const words = NOTES[condition] ?? condition;
  const since = Number.isFinite(updated) ? age(serverNow() - updated) : null;
  const old = condition === "stale" ? ` ${since ?? UNKNOWN}` : since && condition !== "syncing" ? ` · book ${since} old` : "";
  write($("book-note-text"), `${words}${old}`);
}
