// The one store. Everything the page knows is in `state`; messages and the user's hands change it here or in the
// module that owns the field, then call `touch(topic)`. Only the paint loop reads it to draw.

export const state = {
  link: { phase: "connecting", retryAt: 0, reason: null, lost: false }, // phase: connecting, open, waiting, paused
  hello: null, // version, venue, simulated
  health: null, // the server's /health, as the stream repeats it
  account: null, // GET /account
  clockOffsetMs: 0, // server clock minus ours
  symbol: null, // the one being traded
  followed: [], // symbols whose books the stream always carries, in the server's order
  rules: new Map(), // symbol -> rules.js Rules
  prices: new Map(), // symbol -> row of GET /prices
  books: new Map(), // symbol -> {bids, asks, state, updatedMs, receivedMs}
  tape: [], // prints of the chosen symbol, newest first
  portfolio: null,
  orders: new Map(), // id -> order, every one we have seen this epoch
  fills: new Map(), // id -> fill with its order's symbol and side
  historyCursor: null,
  fillsCursor: null,
  lastEvent: null, // {text, ms}: our own last fill, refusal, cancel
};

const waiting = new Set();
let wake = () => {};

export function touch(...topics) {
  for (const topic of topics) waiting.add(topic);
  wake(topics);
}

// For the paint loop: what changed since it asked last, and who to call with the topics when something does.
export function takeTouched() {
  const topics = [...waiting];
  waiting.clear();
  return topics;
}

export function onTouch(callback) {
  wake = callback;
}

export function serverNow() {
  return Date.now() + state.clockOffsetMs;
}

export function openOrders() {
  return [...state.orders.values()].filter(isOpen).sort((one, other) => other.id - one.id);
}

export function isOpen(order) {
  return order.status === "new" || order.status === "partially_filled";
}

export function balanceOf(asset) {
  return state.portfolio?.balances?.find((balance) => balance.asset === asset) ?? null;
}

// Whether the chosen symbol's book may be traded against: "live", or what is wrong with it.
export function bookState() {
  if (state.link.phase !== "open") return "offline";
  const told = state.health?.feed?.symbols?.[state.symbol]?.state;
  const shown = state.books.get(state.symbol)?.state;
  if (told && told !== "live") return told;
  return shown ?? told ?? "syncing";
}
