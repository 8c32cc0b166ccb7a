// The bars: equity and state on top, the symbol's figures below it, banners, and the status bar at the foot.

import { $, make, setData, setDirection, setHidden, write } from "./dom.js";
import { decimal } from "./decimal.js";
import { UNKNOWN, age, clock, direction, exact, grouped, pair, percentChange, percentOf, rounded, short, signed } from "./format.js";
import { middleOf, spreadOf } from "./book.js";
import { panel } from "./paint.js";
import { bookState, serverNow, state, touch } from "./store.js";

const TICK_MS = 250;
const BASIS_POINT = decimal("10000");
const MOST_OTHERS = 6;

export function startHeader({ chooseSymbol, retry }) {
  setInterval(() => touch("clock"), TICK_MS);
  panel({ topics: ["portfolio", "account"], paint: paintMoney, everyMs: 200 });
  panel({ topics: ["clock", "link", "status", "book"], paint: paintPill, everyMs: 250 });
  panel({ topics: ["symbol", "rules", "prices", "book", "trades"], paint: paintSymbol, everyMs: 100 });
  panel({ topics: ["prices", "tops", "followed", "symbol", "rules"], paint: () => paintOthers(chooseSymbol), everyMs: 500 });
  panel({ topics: ["clock", "link", "status", "account"], paint: () => paintBanners(retry), everyMs: 250 });
  panel({ topics: ["clock", "link", "status"], paint: paintStatusBar, everyMs: 250 });
}

function paintMoney() {
  const total = decimal(state.portfolio?.total_value);
  const pnl = decimal(state.portfolio?.total_pnl);
  write($("equity"), total ? rounded(total, 2) : UNKNOWN);
  const share = percentOf(pnl, decimal(state.portfolio?.net_deposits));
  write($("pnl"), pnl ? `${signed(pnl, 2)}${share === UNKNOWN ? "" : ` (${share})`}` : UNKNOWN);
  setDirection($("pnl"), direction(pnl));
  write($("account-name"), state.account?.name ?? UNKNOWN);
}

// The state of what is on the screen, in words: [tone, text].
function feedWords() {
  const { phase, retryAt } = state.link;
  if (phase === "paused") return ["warn", "Paused"];
  if (phase === "waiting") return ["bad", `Offline \u2013 retrying in ${secondsUntil(retryAt)} s`];
  if (phase !== "open") return state.link.lost ? ["bad", "Offline \u2013 connecting"] : ["wait", "Connecting"];
  const book = state.books.get(state.symbol);
  const condition = bookState();
  const since = book ? serverNow() - book.updatedMs : NaN;
  if (condition === "live") return ["good", book ? `Live \u00b7 ${age(book.delayMs)}` : "Live"];
  if (condition === "stale") return ["warn", Number.isFinite(since) ? `Stale ${age(since)}` : "Stale"];
  if (condition === "down") return ["bad", "Venue down"];
  return ["warn", "Syncing"];
}

function secondsUntil(ms) {
  return Math.max(0, Math.ceil((ms - Date.now()) / 1000));
}

function paintPill() {
  const [tone, text] = feedWords();
  setData($("pill"), "tone", tone);
  write($("pill-text"), text);
}

function paintSymbol() {
  const rules = state.rules.get(state.symbol);
  const row = state.prices.get(state.symbol);
  const decimals = rules?.priceDecimals ?? 0;
  const last = state.tape[0]?.price ?? row?.price ?? null;
  const name = state.symbol ? pair(rules, state.symbol) : UNKNOWN;
  write($("symbol-name"), name);
  write($("symbol-note"), venueWords(rules));
  write($("coin"), (rules?.base ?? state.symbol ?? "").slice(0, 1));
  write($("last"), last ? exact(last, decimals) : UNKNOWN);
  const sign = direction(row?.change_percent_24h);
  setDirection($("last"), sign);
  setDirection($("change"), sign);
  write($("change"), changeWords(row, last, decimals));
  write($("high"), row?.high_24h ? exact(row.high_24h, decimals) : UNKNOWN);
  write($("low"), row?.low_24h ? exact(row.low_24h, decimals) : UNKNOWN);
  write($("volume"), row?.volume_24h ? `${short(row.volume_24h)} ${rules?.base ?? ""}`.trim() : UNKNOWN);
  write($("spread"), spreadWords(state.books.get(state.symbol), decimals));
  const title = last ? `${exact(last, decimals)} ${name}` : name;
  const whole = `${title} \u00b7 Paper Exchange`;
  if (document.title !== whole) document.title = whole;
}

function venueWords(rules) {
  if (rules && rules.status !== "TRADING") return `not trading: ${rules.status.toLowerCase()}`;
  const venue = state.health?.venue ?? state.hello?.venue;
  return venue ? `${venueName(venue)} spot feed` : UNKNOWN;
}

function venueName(venue) {
  return { binance: "Binance", "binance-us": "Binance.US", simulated: "Simulated" }[venue] ?? venue;
}

// "+1,284.11 (+1.34%)": since 24 hours ago, in price and percent.
function changeWords(row, last, decimals) {
  const percent = percentChange(row?.change_percent_24h);
  const opened = decimal(row?.open_24h);
  const now = decimal(last);
  return opened && now && percent !== UNKNOWN ? `${signed(now.minus(opened), decimals)} (${percent})` : percent;
}

function spreadWords(book, decimals) {
  const spread = spreadOf(book);
  const mid = middleOf(book);
  if (!spread || !mid?.sign) return UNKNOWN;
  return `${exact(spread, decimals)} \u00b7 ${grouped(spread.times(BASIS_POINT).over(mid, 3))} bps`;
}

const otherButtons = new Map();

function paintOthers(chooseSymbol) {
  const names = state.followed.filter((name) => name !== state.symbol).slice(0, MOST_OTHERS);
  for (const [name, entry] of otherButtons) {
    if (names.includes(name)) continue;
    entry.item.remove();
    otherButtons.delete(name);
  }
  for (const name of names) {
    const entry = otherButtons.get(name) ?? makeOther(name, chooseSymbol);
    const rules = state.rules.get(name);
    const row = state.prices.get(name);
    const spread = spreadOf(state.books.get(name));
    write(entry.name, rules?.quote === "USDT" ? rules.base : pair(rules, name));
    write(entry.last, row?.price ? exact(row.price, rules?.priceDecimals ?? 0) : UNKNOWN);
    write(entry.change, percentChange(row?.change_percent_24h));
    setDirection(entry.change, direction(row?.change_percent_24h));
    write(entry.spread, `spread ${spread ? exact(spread, rules?.priceDecimals ?? 0) : UNKNOWN}`);
  }
}

function makeOther(name, chooseSymbol) {
  const entry = { item: make("li"), name: make("b"), last: make("span", { class: "num" }), change: make("span", { class: "num" }), spread: make("span", { class: "num quiet" }) };
  const button = make("button", { type: "button" }, entry.name, entry.last, entry.change, entry.spread);
  button.addEventListener("click", () => chooseSymbol(name));
  entry.item.append(button);
  $("others").append(entry.item);
  otherButtons.set(name, entry);
  return entry;
}

// Each banner: [key, tone, text, action]. Only what is true now.
function banners() {
  const found = [];
  const health = state.health;
  const link = state.link;
  if (link.phase === "waiting") {
    const reason = link.reason ? ` (${link.reason})` : "";
    found.push(["offline", "bad", `Offline \u2013 retrying in ${secondsUntil(link.retryAt)} s${reason}. Prices are old; nothing is sent.`, "Retry now"]);
  } else if (link.lost) {
    found.push(["offline", "bad", "Offline \u2013 connecting\u2026 Prices are old; nothing is sent.", null]);
  }
  const role = health?.engine?.role;
  if (link.phase === "open" && role && role !== "active") {
    const reason = health.engine.reason ? ` Reason: ${health.engine.reason}.` : "";
    found.push(["role", "warn", `${roleWords(role)}${reason}`, null]);
  }
  const feed = health?.feed;
  if (link.phase === "open" && feed?.state === "down" && feed.reason) found.push(["feed", "warn", `Market data: ${feed.reason}.`, null]);
  const venue = health?.venue ?? state.hello?.venue;
  if (health?.simulated ?? state.hello?.simulated) {
    found.push(["simulated", "warn", "Simulated market \u2013 no connection to Binance; prices are generated.", null]);
  } else if (venue === "binance-us") {
    found.push(["us", "note", "Market data: Binance.US. Binance itself cannot be reached from here.", null]);
  }
  const elsewhere = state.account?.other_venues ?? [];
  if (elsewhere.length) {
    const names = elsewhere.map(({ venue: name }) => venueName(name)).join(" and ");
    found.push(["earlier", "note", `Your earlier account is kept with ${names}. Accounts of different venues are apart; this one trades on ${state.account.venue === "simulated" ? "the simulated market" : venueName(state.account.venue)}.`, null]);
  }
  return found;
}

function roleWords(role) {
  const words = {
    standby: "This server stands by: another one runs the exchange on the same data. Orders are refused here.",
    starting: "The server is starting. Orders are refused until it is ready.",
    halted: "The exchange has halted. Nothing is accepted; your account is safe in the database.",
  };
  return words[role] ?? `The server is ${role}.`;
}

const bannerNodes = new Map();

function paintBanners(retry) {
  const wanted = banners();
  for (const [key, entry] of bannerNodes) {
    if (wanted.some(([name]) => name === key)) continue;
    entry.node.remove();
    bannerNodes.delete(key);
  }
  for (const [key, tone, text, action] of wanted) {
    const entry = bannerNodes.get(key) ?? makeBanner(key, retry);
    setData(entry.node, "tone", tone);
    write(entry.text, text);
    setHidden(entry.button, !action);
    if (action) write(entry.button, action);
  }
}

function makeBanner(key, retry) {
  const entry = { text: make("span"), button: make("button", { type: "button", hidden: true }) };
  entry.node = make("div", { class: "banner", "data-key": key }, make("i", { class: "dot" }), entry.text, entry.button);
  entry.button.addEventListener("click", retry);
  $("banners").append(entry.node);
  bannerNodes.set(key, entry);
  return entry;
}

function paintStatusBar() {
  const [tone, words] = feedWords();
  setData($("status-market"), "tone", tone);
  write($("status-market-text"), words.replace(/^Live \u00b7 /, ""));
  const open = state.link.phase === "open";
  setData($("status-link"), "tone", open ? "good" : state.link.lost ? "bad" : "wait");
  write($("status-link-text"), open ? "ok" : state.link.phase === "paused" ? "paused" : state.link.lost ? "lost" : "connecting");
  const venue = state.health?.venue ?? state.hello?.venue;
  write($("status-venue"), venue ? venueName(venue) : UNKNOWN);
  const version = state.health?.version ?? state.hello?.version;
  write($("status-version"), version ? `v${version}` : "");
  write($("status-clock"), `${clock(serverNow())} UTC`);
}
