// What the order in the ticket would do if it were sent now. The server is asked, for it computes that with the code
// that fills: a moment after the last key, and again while the ticket stands, since the market goes on.

import { NoAnswer, Refusal, call } from "./api.js";
import { decimal } from "./decimal.js";
import { $, setAttribute, write } from "./dom.js";
import { UNKNOWN, exact, grouped, rounded } from "./format.js";
import { panel } from "./paint.js";
import { state } from "./store.js";
import { readyRequest } from "./ticket.js";

const PAUSE_MS = 250;
const AGAIN_MS = 2000;

let wanted = ""; // the order last looked at, as text
let askedAt = 0;
let timer = 0;

export function startPreview() {
  // The status message touches "draft" every second, which is what asks again.
  panel({ topics: ["draft", "symbol", "rules", "portfolio", "account"], paint: follow });
}

function follow() {
  const request = readyRequest();
  if (request) delete request.client_order_id;
  const order = request ? JSON.stringify(request) : "";
  const now = performance.now();
  if (order === wanted && !(request && now - askedAt >= AGAIN_MS)) return;
  clearTimeout(timer);
  askedAt = now;
  if (order !== wanted) show(request ? "\u2026" : UNKNOWN);
  const pause = order === wanted ? 0 : PAUSE_MS;
  wanted = order;
  if (request) timer = setTimeout(() => ask(request, order), pause);
}

async function ask(request, order) {
  let words = UNKNOWN;
  let title = "";
  try {
    const told = await call("POST", "orders/preview", { body: request });
    words = wordsFor(told);
    title = titleFor(told);
  } catch (error) {
    if (error instanceof Refusal) words = `refused: ${error.message}`;
    else if (!(error instanceof NoAnswer)) throw error;
  }
  if (order === wanted) show(words, title);
}

function show(words, title = "") {
  write($("preview"), words);
  setAttribute($("preview"), "title", title);
}

// "97,016.72 on average · 0.05 bps · fee 0.00005 BTC", "rests behind 12.3 BTC", or both.
function wordsFor(told) {
  const rules = state.rules.get(told.symbol);
  const parts = [];
  if (told.fills.length) {
    parts.push(`${exact(told.average_price, rules.priceDecimals)} on average`);
    if (told.slippage_mid_bps !== null) parts.push(`${rounded(told.slippage_mid_bps, 2)} bps`);
    parts.push(...Object.entries(told.fees).map(([asset, fee]) => `fee ${grouped(fee)} ${asset}`));
  }
  if (decimal(told.rests)?.sign) parts.push(`${told.fills.length ? "the rest " : ""}${restWords(told, rules)}`);
  if (told.expires) parts.push(`${told.fills.length ? "the rest " : ""}expires (${told.expires.replaceAll("_", " ")})`);
  return parts.length ? parts.join(" \u00b7 ") : UNKNOWN;
}

function restWords(told, rules) {
  if (!told.live) return "waits for a live book";
  const ahead = decimal(told.queue_ahead);
  if (!ahead) return "rests, queue not known";
  return ahead.sign ? `rests behind ${grouped(ahead.trimmed())} ${rules.base}` : "rests first in the queue";
}

function titleFor(told) {
  if (!told.fills.length) return "";
  const levels = told.fills.length === 1 ? "one level" : `${told.fills.length} levels`;
  return `${levels}; against the middle ${told.slippage_mid_bps ?? UNKNOWN} bps, against the best price ${told.slippage_best_bps ?? UNKNOWN} bps`;
}
