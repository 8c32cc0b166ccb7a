// How numbers and times are written on the page. Takes the server's strings, gives strings; no float in between.

import { Decimal, HUNDRED, decimal } from "./decimal.js";

export const UNKNOWN = "\u2014";
const MINUS = "\u2212";

// "-1234.50" -> "−1,234.50". Null for anything that is not a number gives an em dash.
export function grouped(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const text = value.toString();
  const start = text.startsWith("-") ? 1 : 0;
  const point = text.indexOf(".");
  let at = point < 0 ? text.length : point;
  let shown = text.slice(at);
  while (at - start > 3) {
    shown = `,${text.slice(at - 3, at)}${shown}`;
    at -= 3;
  }
  return `${start ? MINUS : ""}${text.slice(start, at)}${shown}`;
}

// Exactly the server's number with at least `decimals` places; more only where digits would be lost.
export function exact(value, decimals) {
  if (typeof value === "string" && hasPlaces(value, decimals)) return grouped(value);
  const number = value instanceof Decimal ? value : decimal(value);
  if (!number) return UNKNOWN;
  return grouped(number.scale < decimals ? number.to(decimals) : number.trimmed(decimals));
}

// Most numbers of a book come with the symbol's places; they need no arithmetic.
function hasPlaces(text, decimals) {
  const point = text.indexOf(".");
  return decimals ? point > 0 && point === text.length - 1 - decimals : point < 0 && text !== "";
}

// Rounded half away from zero to `decimals` places.
export function rounded(text, decimals) {
  const number = text instanceof Decimal ? text : decimal(text);
  return number ? grouped(number.to(decimals)) : UNKNOWN;
}

// Cut, never rounded up, to `decimals` places: what one may still spend. The full number belongs into a title.
export function cut(text, decimals) {
  const number = text instanceof Decimal ? text : decimal(text);
  return number ? grouped(number.to(decimals, "down")) : UNKNOWN;
}

// As `rounded`, with "+" on a gain; zero carries no sign.
export function signed(text, decimals) {
  const number = text instanceof Decimal ? text : decimal(text);
  if (!number) return UNKNOWN;
  const shown = number.to(decimals);
  return `${shown.sign > 0 ? "+" : ""}${grouped(shown)}`;
}

export function percentChange(text) {
  const shown = signed(text, 2);
  return shown === UNKNOWN ? shown : `${shown}%`;
}

// part / whole as a signed percentage, or an em dash where the whole is not positive.
export function percentOf(part, whole) {
  if (!part || !whole || whole.sign <= 0) return UNKNOWN;
  return percentChange(part.times(HUNDRED).over(whole, 4));
}

const SCALES = [
  [decimal("1000000000"), "B"],
  [decimal("1000000"), "M"],
  [decimal("100000"), "K"],
];
const KILO = decimal("1000");

// Large amounts in three or four digits: 18,402 · 941.2M · 1.780B.
export function short(text) {
  const number = text instanceof Decimal ? text : decimal(text);
  if (!number) return UNKNOWN;
  for (const [size, letter] of SCALES) {
    if (number.compare(size) < 0) continue;
    const unit = letter === "K" ? KILO : size;
    const whole = number.over(unit, 0, "down").toString().length;
    return `${grouped(number.over(unit, Math.max(0, 4 - whole)))}${letter}`;
  }
  return number.compare(KILO) >= 0 ? rounded(number, 0) : rounded(number, 2);
}

// The sign of what is shown: a loss of less than half a cent is no loss to colour.
export function direction(value, decimals = 2) {
  const number = value instanceof Decimal ? value : decimal(value);
  return number ? number.to(decimals).sign : 0;
}

// "14:22:36", and the day before it when it is not today's (all UTC).
export function moment(ms, nowMs = Date.now()) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  const iso = new Date(ms).toISOString();
  const clock = iso.slice(11, 19);
  return iso.slice(0, 10) === new Date(nowMs).toISOString().slice(0, 10) ? clock : `${iso.slice(5, 10)} ${clock}`;
}

export function clock(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString().slice(11, 19) : UNKNOWN;
}

// An age in words: "42 ms", "4.2 s", "3 min".
export function age(ms) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min`;
}

// "BTCUSDT" -> "BTC/USDT", given its rules; the plain name before they are known.
export function pair(rules, name) {
  return rules ? `${rules.base}/${rules.quote}` : name;
}

export function sideWord(side) {
  return side === "buy" ? "Buy" : "Sell";
}
