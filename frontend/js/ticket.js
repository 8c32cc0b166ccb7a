// The order ticket: reads and writes its form, keeps one draft per symbol, and shows what is wrong before it is sent.
// Amounts are exact decimal texts from input to request. What happens after the press is in submit.js.

import { $, icon, make, setAttribute, setClass, setData, setHidden, write } from "./dom.js";
import { Decimal, HUNDRED, decimal } from "./decimal.js";
import { UNKNOWN, cut, exact, grouped } from "./format.js";
import { middleOf } from "./book.js";
import { panel } from "./paint.js";
import { QUOTE_PLACES, problems, quoteDecimals, typed, walk } from "./rules.js";
import { balanceOf, bookState, state, touch } from "./store.js";
import { clearResult, requestFrom, send, submission } from "./submit.js";

const drafts = new Map(); // symbol -> what the form held
let complete = false; // true after a send was tried with something missing

export function startTicket({ placed }) {
  const form = $("ticket-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(placed);
  });
  form.addEventListener("input", (event) => edited(event.target));
  form.addEventListener("change", () => touch("draft"));
  form.addEventListener("click", (event) => pressed(event.target.closest("button")));
  $("price").addEventListener("keydown", stepWithArrows);
  $("amount-switch").append(document.createTextNode(""), icon("chevron"));
  setDraft(emptyDraft());
  panel({ topics: ["draft", "symbol", "rules", "portfolio", "account", "view"], paint });
  panel({ topics: ["book", "draft", "symbol"], paint: paintEstimate, everyMs: 250 });
}

function emptyDraft() {
  return { side: "buy", type: "limit", price: "", amount: "", total: "", unit: "base", tif: "GTC", postOnly: false };
}

function readDraft() {
  const form = $("ticket-form").elements;
  return {
    side: form.side.value,
    type: form.type.value,
    price: $("price").value,
    amount: $("amount").value,
    total: $("total").value,
    unit: $("amount-field").dataset.unit ?? "base",
    tif: $("tif").value,
    postOnly: $("post-only").checked,
  };
}

export function setDraft(change) {
  const form = $("ticket-form").elements;
  const draft = { ...readDraft(), ...change };
  form.side.value = draft.side;
  form.type.value = draft.type;
  $("price").value = draft.price;
  $("amount").value = draft.amount;
  $("total").value = draft.total;
  $("amount-field").dataset.unit = draft.unit;
  $("tif").value = draft.tif;
  $("post-only").checked = draft.postOnly;
  touch("draft");
}

// Put the old symbol's draft away and lay out the new one's.
export function switchDraft(from, to) {
  if (from) drafts.set(from, readDraft());
  complete = false;
  clearResult();
  setDraft(drafts.get(to) ?? { ...emptyDraft(), side: readDraft().side, type: readDraft().type });
}

// From the book: a price, and perhaps the size shown there. A bid is what one buys at, an ask what one sells at,
// only as a price; the side stays the user's choice.
export function fillFromBook({ price, amount }) {
  const rules = state.rules.get(state.symbol);
  setDraft({ type: "limit", price: exact(price, rules?.priceDecimals ?? 0) });
  if (amount) setDraft({ unit: "base", amount: exact(amount, rules?.quantityDecimals ?? 0) });
  totalFromAmount();
  clearResult();
}

export function chooseSide(side) {
  setDraft({ side });
}

export function chooseType(type) {
  setDraft({ type, unit: type === "limit" ? "base" : readDraft().unit });
}

function edited(target) {
  if (target.id === "total") amountFromTotal();
  else if (target.id === "price" || target.id === "amount") totalFromAmount();
  else if (target.name === "type" && target.value === "limit") setDraft({ unit: "base" });
  clearResult();
  touch("draft");
}

function pressed(button) {
  if (!button) return;
  if (button.dataset.price) setPrice(button.dataset.price);
  else if (button.dataset.share) setShare(decimal(button.dataset.share));
  else if (button.id === "price-up") stepPrice(1);
  else if (button.id === "price-down") stepPrice(-1);
  else if (button.id === "amount-switch") switchUnit();
  else if (button.dataset.fix) {
    $(button.dataset.fix).value = button.dataset.value;
    totalFromAmount();
    $(button.dataset.fix).focus();
    touch("draft");
  }
}

function setPrice(word) {
  const book = state.books.get(state.symbol);
  const rules = state.rules.get(state.symbol);
  if (word === "up") return stepPrice(1);
  if (word === "down") return stepPrice(-1);
  const levels = { bid: book?.bids, ask: book?.asks }[word];
  let found = levels ? decimal(levels[0]?.[0]) : middleOf(book);
  if (!found || !rules) return undefined;
  if (word === "mid" && rules.tick) found = found.floorTo(rules.tick);
  $("price").value = exact(found, rules.priceDecimals);
  return edited($("price"));
}

function stepPrice(ticks) {
  const rules = state.rules.get(state.symbol);
  const from = typed($("price").value) ?? decimal(state.prices.get(state.symbol)?.price);
  if (!rules?.tick || !from) return;
  const to = from.floorTo(rules.tick).plus(rules.tick.times(new Decimal(BigInt(ticks), 0)));
  if (to.sign <= 0) return;
  $("price").value = exact(to, rules.priceDecimals);
  edited($("price"));
}

function stepWithArrows(event) {
  const ticks = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!ticks) return;
  event.preventDefault();
  stepPrice(event.shiftKey ? ticks * 10 : ticks);
}

// A share of what is free: of the quote asset for a buy (at the draft's price), of the base asset for a sell.
function setShare(share) {
  const rules = state.rules.get(state.symbol);
  const draft = readDraft();
  const free = freeBalance(draft, rules);
  if (!rules || !free) return;
  const part = free.times(share).over(HUNDRED, free.scale + 2, "down");
  if (draft.side === "sell") {
    const amount = rules.step ? part.floorTo(rules.step) : part;
    setDraft({ unit: "base", amount: grouped(amount) });
  } else if (draft.type === "market") {
    const places = share.equals(HUNDRED) ? QUOTE_PLACES : quoteDecimals(rules);
    setDraft({ unit: "quote", amount: exact(part.to(Math.min(places, QUOTE_PLACES), "down"), 2) });
  } else {
    const price = typed(draft.price);
    if (!price || price.sign === 0) {
      complete = true;
      touch("draft");
      $("price").focus();
      return;
    }
    const amount = part.over(price, rules.quantityDecimals + 4, "down");
    setDraft({ amount: grouped(rules.step ? amount.floorTo(rules.step) : amount) });
  }
  totalFromAmount();
  clearResult();
}

function switchUnit() {
  const draft = readDraft();
  setDraft({ unit: draft.unit === "quote" ? "base" : "quote", amount: "" });
  $("amount").focus();
}

function totalFromAmount() {
  const price = typed($("price").value);
  const amount = typed($("amount").value);
  const rules = state.rules.get(state.symbol);
  const total = price && amount ? price.times(amount) : null;
  $("total").value = total && rules ? exact(total.to(Math.min(total.scale, QUOTE_PLACES)), 2) : "";
}

function amountFromTotal() {
  const total = typed($("total").value);
  const price = typed($("price").value);
  const rules = state.rules.get(state.symbol);
  if (!total || !price || price.sign === 0 || !rules?.step) return;
  $("amount").value = grouped(total.over(price, rules.quantityDecimals + 4, "down").floorTo(rules.step));
}

function freeBalance(draft, rules) {
  if (!rules || !state.portfolio) return null;
  return decimal(balanceOf(draft.side === "buy" ? rules.quote : rules.base)?.free ?? "0");
}

// Taking needs a live book; only a resting limit order may be left for later.
function takes(draft) {
  return draft.type === "market" || draft.tif !== "GTC" || draft.postOnly;
}

function obstacle(draft, rules) {
  if (state.link.phase !== "open") return "Offline. Orders can be sent when the connection is back.";
  const role = state.health?.engine?.role;
  if (role && role !== "active") return `The server takes no orders now (${role}).`;
  if (!rules) return "Loading the symbol's rules.";
  if (rules.status !== "TRADING") return `${rules.symbol} is not trading (${rules.status.toLowerCase()}). Cancels work.`;
  if (bookState() !== "live" && takes(draft)) {
    return "The book is not live, so nothing can be taken. A GTC limit order waits and joins at the back; cancels work.";
  }
  return null;
}

function paint() {
  const draft = readDraft();
  const rules = state.rules.get(state.symbol);
  const form = $("ticket-form");
  setData(form, "type", draft.type);
  const free = freeBalance(draft, rules);
  const paid = rules ? (draft.side === "buy" ? rules.quote : rules.base) : "";
  write($("available"), free ? `${cut(free, draft.side === "buy" ? quoteDecimals(rules) : rules.quantityDecimals)} ${paid}` : UNKNOWN);
  setAttribute($("available"), "title", free ? `${exact(free, 2)} ${paid}` : "");
  write($("price-unit"), rules?.quote ?? "");
  write($("total-unit"), rules?.quote ?? "");
  const inQuote = draft.type === "market" && draft.unit === "quote";
  const unit = rules ? (inQuote ? rules.quote : rules.base) : "";
  const switchable = draft.type === "market" && Boolean(rules);
  setHidden($("amount-unit"), switchable);
  setHidden($("amount-switch"), !switchable);
  write($("amount-unit"), unit);
  $("amount-switch").firstChild.data = unit;
  if (rules) setAttribute($("amount-switch"), "aria-label", `Amount in ${unit}; change to ${inQuote ? rules.base : rules.quote}`);
  write($("fees"), feeWords(draft));
  const postOnly = $("post-only");
  postOnly.disabled = draft.tif !== "GTC";
  if (postOnly.disabled) postOnly.checked = false;
  $("tif").disabled = postOnly.checked;

  const errors = rules ? problems({ ...draft, postOnly: postOnly.checked }, rules, free, { complete }) : {};
  const told = submission.refused ? { [submission.refused.field]: { text: submission.refused.text, fix: null } } : {};
  showError("price", draft.type === "limit" ? (errors.price ?? told.price) : null);
  showError("amount", errors.amount ?? told.amount);
  paintButton(draft, rules, errors);
}

// Which rates apply: a market order only takes, a post-only order only makes.
function feeWords(draft) {
  const taker = decimal(state.account?.taker_fee_rate);
  const maker = decimal(state.account?.maker_fee_rate);
  if (!taker || !maker) return UNKNOWN;
  const percent = (rate) => `${exact(rate.times(HUNDRED), 2)}%`;
  if (draft.type === "market") return `${percent(taker)} taker`;
  if (draft.postOnly) return `${percent(maker)} maker`;
  return `${percent(maker)} maker \u00b7 ${percent(taker)} taker`;
}

function paintButton(draft, rules, errors) {
  const button = $("submit");
  const wrong = Object.keys(errors).length;
  const reason = obstacle(draft, rules);
  setHidden($("ticket-note"), !reason);
  write($("ticket-note"), reason ?? "");
  setData(button, "side", draft.side);
  button.disabled = Boolean(submission.sending || submission.unanswered || reason || wrong);
  const verb = draft.side === "buy" ? "Buy" : "Sell";
  const amount = typed(draft.amount);
  const inQuote = draft.type === "market" && draft.unit === "quote";
  const unit = rules ? (inQuote ? rules.quote : rules.base) : "";
  let text = amount?.sign ? `${verb} ${inQuote ? "for " : ""}${grouped(amount)} ${unit}` : `${verb} ${rules?.base ?? ""}`.trim();
  if (wrong) text = `Fix ${wrong === 1 ? "1 field" : `${wrong} fields`} to ${verb.toLowerCase()}`;
  if (submission.sending) text = submission.sending.asked ? "No answer yet, asking\u2026" : "Sending\u2026";
  write(button, text);
}

function showError(field, error) {
  const node = $(`${field}-error`);
  setHidden(node, !error);
  setClass($(`${field}-field`), "wrong", Boolean(error));
  setAttribute($(field), "aria-invalid", String(Boolean(error)));
  const key = error ? `${error.text}|${error.fix?.value ?? ""}` : "";
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren();
  if (!error) return;
  node.append(error.text);
  if (error.fix) {
    node.append(" ", make("button", { type: "button", "data-fix": field, "data-value": error.fix.value }, error.fix.label));
  }
}

// What a market order would cost or bring by the levels shown now, before fees.
function paintEstimate() {
  const draft = readDraft();
  if (draft.type !== "market") return;
  const rules = state.rules.get(state.symbol);
  const book = state.books.get(state.symbol);
  const amount = typed(draft.amount);
  const levels = draft.side === "buy" ? book?.asks : book?.bids;
  if (!rules || !amount?.sign || !levels?.length || bookState() !== "live") {
    write($("estimate"), UNKNOWN);
    return;
  }
  const inQuote = draft.unit === "quote";
  const taken = walk(levels, amount, inQuote);
  if (!taken.complete) {
    write($("estimate"), `more than the ${levels.length} levels shown`);
    return;
  }
  const text = inQuote
    ? `\u2248 ${grouped(taken.base.to(rules.quantityDecimals, "down"))} ${rules.base}`
    : `\u2248 ${grouped(taken.quote.to(quoteDecimals(rules)))} ${rules.quote}`;
  write($("estimate"), text);
}

// The request the ticket would send now, null while something is missing or wrong.
export function readyRequest() {
  const draft = readDraft();
  const rules = state.rules.get(state.symbol);
  if (!rules || obstacle(draft, rules)) return null;
  if (Object.keys(problems(draft, rules, freeBalance(draft, rules), { complete: true })).length) return null;
  return requestFrom(draft, rules);
}

function submit(placed) {
  if (submission.sending || submission.unanswered) return;
  const draft = readDraft();
  const rules = state.rules.get(state.symbol);
  complete = true;
  touch("draft");
  if (!rules || obstacle(draft, rules)) return;
  const wrong = Object.keys(problems(draft, rules, freeBalance(draft, rules), { complete }))[0];
  if (wrong) {
    $(wrong).focus();
    return;
  }
  send(requestFrom(draft, rules), (order) => {
    complete = false;
    setDraft({ amount: "", total: "" });
    placed(order);
  });
}
