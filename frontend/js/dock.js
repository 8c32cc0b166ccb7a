// The dock under the chart: open orders, positions, order history, fills and balances. Only the open tab is painted.

import { NoAnswer } from "./api.js";
import { $, icon, make, setAttribute, setHidden, write } from "./dom.js";
import { ZERO, decimal } from "./decimal.js";
import { cancelAll, cancelOrder, olderFills, olderOrders } from "./feed.js";
import { UNKNOWN, direction, exact, moment, pair, percentOf, rounded, short, sideWord, signed } from "./format.js";
import { panel } from "./paint.js";
import { CERTAINTIES, showReceipt } from "./receipt.js";
import { quoteDecimals } from "./rules.js";
import { isOpen, openOrders, state, touch } from "./store.js";
import { Table, toned } from "./table.js";
import { toast } from "./toasts.js";
import { tabs } from "./views.js";

const cancelling = new Set(); // ids whose cancel is under way
const MOST_ROWS = 200;

let shown = "open";
let onlySymbol = false;
let hooks = {};

// hooks: {closePosition(position)} fills the ticket; nothing is sent from here but cancels.
export function startDock(given) {
  hooks = given;
  const views = makeViews();
  const list = $("dock-tabs");
  for (const [name, view] of Object.entries(views)) {
    const tab = make("button", { type: "button", role: "tab", id: `dock-tab-${name}`, "aria-controls": `dock-${name}`, "data-view": name }, view.title);
    setAttribute(tab, "aria-selected", String(name === shown));
    tab.tabIndex = name === shown ? 0 : -1;
    view.count = make("span", { class: "count", hidden: true }, "0");
    if (view.counted) tab.append(view.count);
    list.append(tab);
    view.node = make("div", { role: "tabpanel", id: `dock-${name}`, "aria-labelledby": tab.id, hidden: name !== shown }, view.table.node);
    if (view.more) offerMore(view);
    $("dock-body").append(view.node);
    panel({ topics: view.topics, paint: () => paintView(view), everyMs: 200, visible: () => shown === name });
  }
  tabs(list, (tab) => open(views, tab.dataset.view));
  $("only-symbol").addEventListener("change", (event) => {
    onlySymbol = event.target.checked;
    touch("view");
  });
  $("dock-body").addEventListener("click", (event) => pressed(event.target.closest("button[data-act]")));
  $("cancel-all").addEventListener("click", askCancelAll);
  panel({ topics: ["orders", "fills", "portfolio", "view", "symbol", "rules", "link"], paint: () => paintFrame(views), everyMs: 100 });
}

function open(views, name) {
  shown = name;
  for (const [each, view] of Object.entries(views)) setHidden(view.node, each !== name);
  $("dock-body").scrollTop = 0;
  touch("view");
}

function makeViews() {
  return {
    open: {
      title: "Open orders ",
      counted: () => visibleRows(openOrders()).length,
      topics: ["orders", "prices", "view", "symbol", "rules", "cancelling", "link"],
      rows: () => visibleRows(openOrders()),
      table: openTable(),
    },
    positions: {
      title: "Positions ",
      counted: () => positions().length,
      topics: ["portfolio", "view", "rules", "symbol"],
      rows: positions,
      table: positionTable(),
    },
    history: {
      title: "Order history",
      topics: ["orders", "view", "symbol", "rules"],
      rows: () => visibleRows([...state.orders.values()].filter((order) => !isOpen(order)).sort(newestFirst)),
      table: historyTable(),
      most: MOST_ROWS,
      more: moreButton("Load older orders", olderOrders, () => state.historyCursor),
    },
    fills: {
      title: "Fills",
      topics: ["fills", "view", "symbol", "rules"],
      rows: () => visibleRows([...state.fills.values()].sort(newestFirst)),
      table: fillTable(),
      most: MOST_ROWS,
      more: moreButton("Load older fills", olderFills, () => state.fillsCursor),
    },
    balances: {
      title: "Balances",
      topics: ["portfolio", "view"],
      rows: () => state.portfolio?.balances ?? [],
      table: balanceTable(),
    },
  };
}

function newestFirst(one, other) {
  return other.id - one.id;
}

function visibleRows(rows) {
  return onlySymbol ? rows.filter((row) => row.symbol === state.symbol) : rows;
}

function positions() {
  return Object.values(state.portfolio?.positions ?? {}).filter((position) => decimal(position.quantity)?.sign);
}

function moreButton(label, load, cursor) {
  return { button: make("button", { type: "button", class: "small more", hidden: true }, label), load, cursor };
}

// A table shows MOST_ROWS rows until more are asked for: first those already here, then those the server keeps.
function offerMore(view) {
  const { button, load, cursor } = view.more;
  view.node.append(button);
  button.addEventListener("click", async () => {
    view.most += MOST_ROWS;
    touch("view");
    if (!cursor()) return;
    button.disabled = true;
    try {
      await load();
    } catch (error) {
      toast({ key: "older", tone: "bad", title: "Older rows not loaded", detail: error.message });
    } finally {
      button.disabled = false;
    }
  });
}

function paintView(view) {
  const rows = view.rows();
  view.table.show(rows.slice(0, view.most));
  if (view.more) setHidden(view.more.button, !view.more.cursor() && rows.length <= view.most);
}

function paintFrame(views) {
  for (const view of Object.values(views)) {
    if (!view.counted) continue;
    const count = view.counted();
    setHidden(view.count, count === 0);
    write(view.count, String(count));
  }
  setHidden($("only-symbol-label"), !["open", "history", "fills"].includes(shown));
  setHidden($("cancel-all"), shown !== "open" || visibleRows(openOrders()).length === 0);
  const held = (state.portfolio?.balances ?? []).filter((balance) => decimal(balance.locked)?.sign > 0);
  const parts = held.map((balance) => `${exact(balance.locked, 2)} ${balance.asset}`);
  $("dock-held").replaceChildren("Held ", make("b", {}, parts.length ? parts.join(" \u00b7 ") : "nothing"));
  const last = state.lastEvent ?? lastFill();
  $("dock-event").replaceChildren(...(last ? ["Last event ", make("b", {}, `${moment(last.ms)} ${last.text}`)] : []));
}

// After a reload the newest fill is the last event we know of.
function lastFill() {
  const [fill] = [...state.fills.values()].sort(newestFirst);
  if (!fill) return null;
  const verb = fill.side === "buy" ? "Bought" : "Sold";
  const base = rulesOf(fill)?.base ?? "";
  const fee = `fee ${exact(fill.fee, 2)} ${fill.fee_asset}`;
  return { ms: Date.parse(fill.filled_at), text: `${verb} ${sizeOf(fill, fill.quantity)} ${base} at ${priceOf(fill, fill.price)} \u00b7 ${fill.liquidity} \u00b7 ${fee}` };
}

const rulesOf = (row) => state.rules.get(row.symbol);
const priceOf = (row, value) => (value === null || value === undefined ? UNKNOWN : exact(value, rulesOf(row)?.priceDecimals ?? 0));
const sizeOf = (row, value) => (value === null || value === undefined ? UNKNOWN : exact(value, rulesOf(row)?.quantityDecimals ?? 0));

const time = (field) => ({ title: "Time", kind: "time", text: (row) => moment(Date.parse(row[field])) });
const symbol = { title: "Symbol", kind: "name", text: (row) => pair(rulesOf(row), row.symbol) };
const side = { title: "Side", kind: "side", render: (cell, row) => toned(cell, sideWord(row.side), row.side === "buy" ? 1 : -1) };
const kind = { title: "Type", kind: "dim", text: kindOf };

function kindOf(order) {
  const stop = order.stop_price ? ` \u00b7 at ${priceOf(order, order.stop_price)}` : "";
  const trailing = order.trailing_bps ? ` \u00b7 ${order.trailing_bps} bps` : "";
  return `${capital(order.type)}${stop}${trailing}${order.post_only ? " \u00b7 post-only" : ""}`;
}

function amountOf(order) {
  if (order.quantity !== null && order.quantity !== undefined) return sizeOf(order, order.quantity);
  return order.quote_quantity ? `${exact(order.quote_quantity, 2)} ${rulesOf(order)?.quote ?? ""}`.trim() : UNKNOWN;
}

function openTable() {
  return new Table({
    caption: "Open orders",
    key: (order) => order.id,
    empty: "No open orders. Click a price in the book.",
    columns: [
      time("created_at"),
      symbol,
      side,
      kind,
      { title: "Price", numeric: true, text: (order) => priceOf(order, order.price) },
      { title: "Amount", numeric: true, text: amountOf },
      { title: "Filled", numeric: true, render: filledCell },
      { title: "Ahead", numeric: true, render: aheadCell },
      { title: "From last", numeric: true, kind: "dim", text: fromLast },
      { title: "TIF", kind: "dim", text: (order) => order.time_in_force ?? UNKNOWN },
      { title: "Cancel", hidden: true, kind: "act", render: cancelCell },
    ],
  });
}

function filledCell(cell, order) {
  if (!cell.firstChild) cell.append(make("span", { class: "filled-bar" }, make("i")), make("span"));
  const filled = decimal(order.filled_quantity) ?? ZERO;
  const whole = decimal(order.quantity);
  const share = whole?.sign ? filled.approximate / whole.approximate : 0;
  cell.firstChild.firstChild.style.transform = `scaleX(${share.toFixed(3)})`;
  write(cell.lastChild, `${Math.floor(share * 100)}%`);
}

// What is ahead of the order in the real queue at its price.
function aheadCell(cell, order) {
  const ahead = decimal(order.queue_ahead);
  const base = rulesOf(order)?.base ?? "";
  write(cell, ahead ? (ahead.sign ? short(ahead) : "first") : UNKNOWN);
  const known = ahead ? `${sizeOf(order, order.queue_ahead)} ${base} ahead of it at its price` : "Not known yet";
  setAttribute(cell, "title", known);
}

function fromLast(order) {
  const last = decimal(state.prices.get(order.symbol)?.price);
  const at = decimal(order.price);
  return last && at ? percentOf(at.minus(last), last) : UNKNOWN;
}

function cancelCell(cell, order) {
  if (!cell.firstChild) {
    cell.append(make("button", { type: "button", class: "row-button", "data-act": "cancel" }, icon("close")));
  }
  const button = cell.firstChild;
  button.dataset.id = order.id;
  button.disabled = cancelling.has(order.id) || state.link.phase !== "open";
  setAttribute(button, "aria-label", `Cancel ${sideWord(order.side)} ${amountOf(order)} ${pair(rulesOf(order), order.symbol)} at ${priceOf(order, order.price)}`);
}

function historyTable() {
  return new Table({
    caption: "Order history",
    key: (order) => order.id,
    empty: "No past orders yet.",
    columns: [
      time("created_at"),
      symbol,
      side,
      kind,
      { title: "Price", numeric: true, text: (order) => (order.type === "market" ? "market" : priceOf(order, order.price)) },
      { title: "Amount", numeric: true, text: amountOf },
      { title: "Filled", numeric: true, text: (order) => sizeOf(order, order.filled_quantity) },
      { title: "Average", numeric: true, text: (order) => priceOf(order, order.average_price) },
      { title: "TIF", kind: "dim", text: (order) => order.time_in_force ?? UNKNOWN },
      { title: "Status", text: (order) => `${capital(order.status)}${order.reason ? ` (${order.reason.replaceAll("_", " ")})` : ""}` },
    ],
  });
}

function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1).replaceAll("_", " ");
}

function fillTable() {
  return new Table({
    caption: "Fills",
    key: (fill) => fill.id,
    empty: "No fills yet.",
    columns: [
      time("filled_at"),
      symbol,
      side,
      { title: "Price", numeric: true, text: (fill) => priceOf(fill, fill.price) },
      { title: "Amount", numeric: true, text: (fill) => sizeOf(fill, fill.quantity) },
      { title: "Value", numeric: true, text: valueOf },
      { title: "Fee", numeric: true, text: (fill) => `${exact(fill.fee, 2)} ${fill.fee_asset}` },
      { title: "Role", kind: "dim", text: (fill) => capital(fill.liquidity) },
      { title: "Certainty", kind: "dim", render: certaintyCell },
      { title: "Order", numeric: true, kind: "dim", text: (fill) => String(fill.order_id) },
    ],
  });
}

function certaintyCell(cell, fill) {
  if (!cell.firstChild) cell.append(make("button", { type: "button", class: "row-button plain", "data-act": "receipt", "aria-haspopup": "dialog" }));
  const button = cell.firstChild;
  button.dataset.id = fill.id;
  write(button, capital(fill.certainty ?? UNKNOWN));
  setAttribute(button, "title", `${CERTAINTIES[fill.certainty] ?? ""} Click for the receipt.`.trim());
}

function valueOf(fill) {
  const value = decimal(fill.price)?.times(decimal(fill.quantity));
  return value ? `${rounded(value, rulesOf(fill) ? quoteDecimals(rulesOf(fill)) : 2)} ${rulesOf(fill)?.quote ?? ""}`.trim() : UNKNOWN;
}

function positionTable() {
  return new Table({
    caption: "Positions",
    key: (position) => position.symbol,
    empty: "No positions. What you buy is listed here with its live profit and loss.",
    columns: [
      symbol,
      { title: "Size", numeric: true, text: (position) => sizeOf(position, position.quantity) },
      { title: "Average entry", numeric: true, kind: "dim", text: (position) => rounded(position.average_price, rulesOf(position)?.priceDecimals ?? 2) },
      { title: "Mark", numeric: true, text: (position) => (position.market_price ? exact(position.market_price, rulesOf(position)?.priceDecimals ?? 0) : UNKNOWN) },
      { title: "Value (USDT)", numeric: true, text: (position) => rounded(position.market_value, 2) },
      { title: "Unrealised P&L", numeric: true, render: (cell, position) => toned(cell, unrealised(position), direction(position.unrealized_pnl)) },
      { title: "Realised", numeric: true, render: (cell, position) => toned(cell, signed(position.realized_pnl, 2), direction(position.realized_pnl)) },
      { title: "Close", hidden: true, kind: "act", render: closeCell },
    ],
  });
}

// "+283.94 +1.26%": the gain and its share of what the position cost.
export function unrealised(position) {
  const pnl = decimal(position.unrealized_pnl);
  const value = decimal(position.market_value);
  if (!pnl || !value) return UNKNOWN;
  return `${signed(pnl, 2)} (${percentOf(pnl, value.minus(pnl))})`;
}

function closeCell(cell, position) {
  if (!cell.firstChild) cell.append(make("button", { type: "button", class: "row-button bordered", "data-act": "close" }, "Close"));
  cell.firstChild.dataset.symbol = position.symbol;
  setAttribute(cell.firstChild, "aria-label", `Close ${pair(rulesOf(position), position.symbol)}: fills the ticket, sends nothing`);
}

function balanceTable() {
  const amount = (field) => (balance) => exact(balance[field], 2);
  return new Table({
    caption: "Balances",
    key: (balance) => balance.asset,
    empty: "No balances known yet.",
    columns: [
      { title: "Asset", kind: "name", text: (balance) => balance.asset },
      { title: "Free", numeric: true, text: amount("free") },
      { title: "Held", numeric: true, kind: "dim", text: amount("locked") },
      { title: "Total", numeric: true, text: amount("total") },
    ],
  });
}

function pressed(button) {
  if (!button) return;
  if (button.dataset.act === "cancel") cancel(Number(button.dataset.id));
  else if (button.dataset.act === "receipt") showReceipt(Number(button.dataset.id));
  else if (button.dataset.act === "close") hooks.closePosition(state.portfolio.positions[button.dataset.symbol]);
}

async function cancel(id) {
  cancelling.add(id);
  touch("cancelling");
  try {
    await cancelOrder(id);
  } catch (error) {
    const title = error instanceof NoAnswer ? "No answer to the cancel" : "Not cancelled";
    toast({ key: `order ${id}`, tone: "bad", title, detail: error.message });
  } finally {
    cancelling.delete(id);
    touch("cancelling");
  }
}

// X on a focused row. True when there was an order to cancel.
export function cancelFocused() {
  const button = document.activeElement?.closest("tr")?.querySelector("[data-act=cancel]");
  button?.click();
  return Boolean(button);
}

export function askCancelAll() {
  const count = visibleRows(openOrders()).length;
  const dialog = $("confirm");
  if (!count || dialog.open) return;
  const where = onlySymbol ? ` in ${pair(state.rules.get(state.symbol), state.symbol)}` : "";
  write($("confirm-text"), `${count === 1 ? "One order" : `${count} orders`}${where} will be cancelled. What is already filled stays.`);
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => dialog.returnValue === "yes" && sendCancelAll(), { once: true });
  dialog.showModal();
}

async function sendCancelAll() {
  $("cancel-all").disabled = true;
  write($("cancel-all"), "Cancelling\u2026");
  try {
    const orders = await cancelAll(onlySymbol ? state.symbol : null);
    toast({ key: "cancel-all", tone: "good", title: `${orders.length === 1 ? "One order" : `${orders.length} orders`} cancelled` });
  } catch (error) {
    toast({ key: "cancel-all", tone: "bad", title: "Not cancelled", detail: error.message });
  } finally {
    $("cancel-all").disabled = false;
    write($("cancel-all"), "Cancel all");
  }
}
