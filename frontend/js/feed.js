// What the server's messages do to the store, and the fetches that fill it after a connection opens.

import { call, get, health, query } from "./api.js";
import { wantRules } from "./listing.js";
import { isOpen, serverNow, state, touch } from "./store.js";

const TAPE_KEPT = 200;
const PAGE = 50;
const MOST_KEPT = 3000; // orders or fills; beyond, the page starts over from the newest
const MOST_CARRIED = 8; // books a page listens to besides the chosen one

// Told of our own fills and ended orders once the first picture is complete: set by main.js.
export const listeners = { filled: () => {}, ended: () => {}, prints: () => {}, resynced: () => {} };

let syncing = null; // order events that arrive while the first picture is being fetched
let syncNumber = 0;

const HANDLERS = {
  hello(message) {
    state.hello = message;
    state.clockOffsetMs = message.server_time_ms - Date.now();
    touch("status", "link");
    sync();
  },
  status(message) {
    state.health = message;
    touch("status", "book", "draft");
  },
  prices(message) {
    for (const [symbol, row] of Object.entries(message)) state.prices.set(symbol, row);
    touch("prices");
  },
  book(message) {
    keepBook(message);
  },
  trades(message) {
    if (message.symbol !== state.symbol) return;
    addPrints(message.trades);
  },
  order(message) {
    if (syncing) syncing.push(message);
    else applyOrder(message, true);
  },
  queue(message) {
    for (const [id, ahead] of Object.entries(message)) {
      const order = state.orders.get(Number(id));
      if (order) state.orders.set(order.id, { ...order, queue_ahead: ahead });
    }
    touch("orders");
  },
  portfolio(message) {
    state.portfolio = message;
    touch("portfolio", "draft");
  },
  reset() {
    sync();
  },
};

export function onMessage(name, message) {
  HANDLERS[name]?.(message);
}

// Ask the server once which symbols it follows from the start; the stream always carries the books of the first few.
export async function learnFollowed() {
  if (state.followed.length) return;
  const told = await health();
  const names = Object.keys(told.feed?.symbols ?? {});
  if (!names.length) throw new Error(told.engine?.reason ?? "the server is starting");
  HANDLERS.status(told);
  state.followed = names.slice(0, MOST_CARRIED);
  touch("followed");
}

// Fetch the account as it is now; stream events that arrive meanwhile are applied on top.
async function sync() {
  const mine = (syncNumber += 1);
  syncing = [];
  try {
    const [account, portfolio, open, orders, fills] = await Promise.all([
      get("account"),
      get("portfolio"),
      get("orders?status=open&limit=1000"),
      get(`orders?limit=${PAGE}`),
      get(`fills?limit=${PAGE}`),
    ]);
    if (mine !== syncNumber) return;
    const again = state.account !== null;
    const known = state.account?.epoch === account.epoch && state.fills.size ? new Set(state.fills.keys()) : null;
    state.account = account;
    state.portfolio = portfolio;
    state.orders = new Map();
    for (const order of [...orders.orders, ...open.orders]) state.orders.set(order.id, order);
    state.historyCursor = orders.next_cursor;
    state.fills = new Map();
    for (const fill of fills.fills) state.fills.set(fill.id, fill);
    state.fillsCursor = fills.next_cursor;
    const missed = known ? fills.fills.filter((fill) => !known.has(fill.id)) : [];
    if (missed.length) listeners.filled({ fills: missed, order: null });
    for (const row of [...state.orders.values(), ...Object.values(portfolio.positions)]) wantRules(row.symbol);
    touch("account", "portfolio", "orders", "fills", "draft");
    if (again) listeners.resynced();
  } catch (error) {
    // The stream is open, so the server lives; ask again shortly rather than show an old account as current.
    if (mine === syncNumber) setTimeout(() => mine === syncNumber && sync(), 2000);
    console.warn("account not fetched yet:", error.message);
    return;
  }
  const waiting = syncing;
  syncing = null;
  for (const order of waiting) applyOrder(order, true);
}

export function resync() {
  return sync();
}

// Take over an order as the server now has it; new fills are told to the listener.
export function applyOrder(order, announce) {
  const before = state.orders.get(order.id);
  if (state.account && order.epoch < state.account.epoch) return;
  if (before && isLater(before, order)) return;
  state.orders.set(order.id, order);
  wantRules(order.symbol);
  const fresh = [];
  for (const fill of order.fills ?? []) {
    if (state.fills.has(fill.id)) continue;
    state.fills.set(fill.id, fill);
    fresh.push(fill);
  }
  touch("orders", "draft");
  if (fresh.length) touch("fills");
  if (announce && fresh.length) listeners.filled({ fills: fresh, order });
  if (announce && before && isOpen(before) && !isOpen(order)) listeners.ended(order);
  if (Math.max(state.orders.size, state.fills.size) > MOST_KEPT && !syncing) sync();
}

// Whether `kept` is a later state of the same order than `arrived`: it is closed, or more of it is filled.
function isLater(kept, arrived) {
  if (!isOpen(kept) && isOpen(arrived)) return true;
  return (kept.fills?.length ?? 0) > (arrived.fills?.length ?? 0);
}

export async function olderOrders() {
  const page = await get(`orders?${query({ limit: PAGE, cursor: state.historyCursor })}`);
  for (const order of page.orders) if (!state.orders.has(order.id)) state.orders.set(order.id, order);
  state.historyCursor = page.next_cursor;
  touch("orders");
}

export async function olderFills() {
  const page = await get(`fills?${query({ limit: PAGE, cursor: state.fillsCursor })}`);
  for (const fill of page.fills) if (!state.fills.has(fill.id)) state.fills.set(fill.id, fill);
  state.fillsCursor = page.next_cursor;
  touch("fills");
}

export async function cancelOrder(id) {
  const order = await call("DELETE", `orders/${id}`);
  applyOrder(order, false);
  return order;
}

export async function cancelAll(symbol) {
  const answer = await call("DELETE", `orders${symbol ? `?${query({ symbol })}` : ""}`);
  for (const order of answer.cancelled) applyOrder(order, false);
  return answer.cancelled;
}

// The book and the prints of a symbol that was just chosen, before the stream brings the first.
export async function fetchMarket(symbol) {
  const [book, trades] = await Promise.allSettled([
    get(`depth?${query({ symbol, limit: 20 })}`),
    get(`trades?${query({ symbol, limit: TAPE_KEPT })}`),
  ]);
  if (symbol !== state.symbol) return;
  if (book.status === "fulfilled") keepBook(book.value);
  if (trades.status === "fulfilled") addPrints(trades.value.trades);
  touch("trades");
}

function keepBook(message) {
  const updatedMs = Date.parse(message.updated_at);
  const kept = state.books.get(message.symbol);
  if (kept && kept.update_id > message.update_id && kept.state === message.state) return;
  state.books.set(message.symbol, { ...message, updatedMs, delayMs: serverNow() - updatedMs });
  touch(message.symbol === state.symbol ? "book" : "tops");
}

function addPrints(prints) {
  const newest = state.tape[0]?.id ?? -1;
  const fresh = prints.filter((print) => print.id > newest).sort((one, other) => other.id - one.id);
  if (!fresh.length) return;
  state.tape = [...fresh, ...state.tape].slice(0, TAPE_KEPT);
  listeners.prints(fresh);
  touch("trades", "book");
}
