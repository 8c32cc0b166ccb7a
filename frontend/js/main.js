// Wires the page together: starts every part, and holds the few actions that touch more than one of them.

import { addToCandle, clearCandles, loadCandles, startChart } from "./chart.js";
import { askCancelAll, cancelFocused, startDock } from "./dock.js";
import { startAccount } from "./account.js";
import { startAppearance } from "./appearance.js";
import { startBook } from "./book.js";
import { $ } from "./dom.js";
import { decimal } from "./decimal.js";
import { fetchMarket, learnFollowed, listeners, onMessage, resync } from "./feed.js";
import { grouped } from "./format.js";
import { startHeader } from "./header.js";
import { wantEveryRule, wantRules } from "./listing.js";
import { startHolding } from "./holding.js";
import { startKeys } from "./keys.js";
import { startNews } from "./news.js";
import { startPainting } from "./paint.js";
import { startPreview } from "./preview.js";
import { closeSheet, openSheet, startSheet } from "./sheet.js";
import { state, touch } from "./store.js";
import { Stream } from "./stream.js";
import { openSwitcher, startSwitcher } from "./switcher.js";
import { startTape } from "./tape.js";
import { chooseSide, chooseType, fillFromBook, setDraft, startTicket, switchDraft } from "./ticket.js";
import { toast } from "./toasts.js";
import { showSide, startViews } from "./views.js";

const stream = new Stream({ prepare, onEvent: onMessage });

async function prepare() {
  await learnFollowed();
  if (!state.symbol) chooseFirst();
  state.followed.forEach(wantRules);
  return [...new Set([...state.followed, state.symbol])];
}

// The symbol of the address (#ETHUSDT), else the last one used, else the first followed.
function chooseFirst() {
  show(addressSymbol() ?? remembered("symbol") ?? state.followed[0]);
}

function addressSymbol() {
  const name = location.hash.slice(1).toUpperCase();
  return /^[0-9A-Z]{2,40}$/.test(name) ? name : null;
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Not remembered, that is all.
  }
}

// A remembered or typed name that this venue does not have.
function unlisted(name) {
  if (name !== state.symbol) return;
  toast({ key: "unlisted", tone: "warn", title: `${name} is not listed here` });
  chooseSymbol(state.followed[0]);
}

// Change the symbol without leaving the page. One the stream does not carry yet makes it connect anew.
function chooseSymbol(name) {
  const carried = state.followed.includes(name);
  show(name);
  if (!carried) stream.connect();
}

function show(name) {
  const before = state.symbol;
  state.symbol = name;
  state.tape = [];
  remember("symbol", name);
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  switchDraft(before, name);
  clearCandles();
  touch("symbol", "trades", "book", "draft");
  wantRules(name).then((listed) => listed || unlisted(name));
  fetchMarket(name);
  loadCandles();
}

// Lay out the order that would close a position; the user looks at it and sends it, or not.
function closePosition(position) {
  const name = position.symbol;
  if (name !== state.symbol) chooseSymbol(name);
  const rules = state.rules.get(name);
  const free = decimal(state.portfolio?.balances?.find((balance) => balance.asset === position.asset)?.free ?? "0");
  const amount = rules?.step ? free.floorTo(rules.step) : free;
  setDraft({ side: "sell", type: "market", unit: "base", amount: grouped(amount), total: "", postOnly: false });
  showTicket("amount");
}

function showTicket(field) {
  showSide("ticket");
  openSheet();
  if (field) $(field).focus();
}

startNews();
listeners.prints = addToCandle;
listeners.resynced = () => loadCandles();

startAppearance();
startViews({ resized: closeSheet });
startHeader({ chooseSymbol, retry: () => stream.connect() });
startBook({
  choose: (level) => {
    fillFromBook(level);
    showTicket(null);
  },
  voided: () => toast({ key: "void", tone: "warn", title: "The price moved under your click", detail: "Nothing was put into the ticket." }),
});
startTape();
startTicket({ placed: closeSheet });
startPreview();
startHolding({ closePosition });
startDock({ closePosition });
startAccount({
  afterReset: async (balance) => {
    await resync();
    toast({ key: "reset", tone: "good", title: "Account reset", detail: `It starts anew with ${balance}.` });
  },
});
startSheet({ chooseSide });
startSwitcher({ chooseSymbol, needRules: wantEveryRule });
startKeys({
  symbols: openSwitcher,
  buy: () => (chooseSide("buy"), showTicket(null)),
  sell: () => (chooseSide("sell"), showTicket(null)),
  limit: () => chooseType("limit"),
  market: () => chooseType("market"),
  cancel: cancelFocused,
  cancelAll: askCancelAll,
  help: () => $("keys").showModal(),
});
window.addEventListener("hashchange", () => {
  const name = addressSymbol();
  if (name && name !== state.symbol && (state.rules.has(name) || state.followed.includes(name))) chooseSymbol(name);
});
startPainting();
startChart();
stream.start();
