// A symbol's trading rules and what they say about a draft order, exactly as the server will judge it. Pure: takes
// values, gives sentences. The server stays the judge; this only spares the round trip.

import { Decimal, ZERO, decimal } from "./decimal.js";
import { exact, grouped } from "./format.js";

export const QUOTE_PLACES = 8; // decimals of every quote asset of the venue

// Places an amount of the quote asset is shown with: those of the price, but at least cents.
export function quoteDecimals(rules) {
  return Math.min(QUOTE_PLACES, Math.max(2, rules.priceDecimals));
}

// Rules from a row of GET /symbols; a limit of zero or null does not apply and becomes null.
export function rulesFrom(row) {
  const limit = (text) => {
    const number = decimal(text);
    return number && number.sign > 0 ? number : null;
  };
  const tick = limit(row.tick_size);
  const step = limit(row.step_size);
  return {
    symbol: row.symbol,
    base: row.base_asset,
    quote: row.quote_asset,
    status: row.status,
    tick,
    step,
    priceDecimals: row.price_decimals,
    quantityDecimals: row.quantity_decimals,
    minPrice: limit(row.min_price),
    maxPrice: limit(row.max_price),
    minQuantity: limit(row.min_quantity),
    maxQuantity: limit(row.max_quantity),
    marketStep: limit(row.market_step_size),
    marketMinQuantity: limit(row.market_min_quantity),
    marketMaxQuantity: limit(row.market_max_quantity),
    minNotional: limit(row.min_notional),
    maxNotional: limit(row.max_notional),
    minNotionalAppliesToMarket: row.min_notional_applies_to_market === true,
  };
}

// What someone typed or pasted, as a number: commas, spaces and a bare leading or trailing point are taken.
export function typed(text) {
  const tidy = text.replace(/[\s,\u00a0\u202f]/g, "").replace(/^\./, "0.").replace(/\.$/, "");
  const number = decimal(tidy);
  return number && number.units >= 0n && !tidy.startsWith("-") ? number : null;
}

// draft: {side, type, price, amount, unit} with price and amount as typed text; free: Decimal or null.
// Returns {price, amount} -> {text, fix: {label, value} or null}; a field without an error is missing.
// Empty fields are errors only when `complete` is asked for.
export function problems(draft, rules, free, { complete = false } = {}) {
  const errors = {};
  const price = typed(draft.price);
  const amount = typed(draft.amount);
  const limit = draft.type === "limit";
  if (limit) {
    const found = fieldProblem(draft.price, price, "price", complete) ?? (price && priceProblem(price, rules));
    if (found) errors.price = found;
  }
  const inQuote = !limit && draft.unit === "quote";
  const found = fieldProblem(draft.amount, amount, "amount", complete);
  if (found) errors.amount = found;
  else if (amount) {
    const wrong = inQuote ? quoteAmountProblem(amount, draft, rules) : quantityProblem(amount, draft, rules);
    const unfit = wrong ?? (limit && price && !errors.price ? notionalProblem(price, amount, rules) : null);
    const poor = unfit ?? fundsProblem({ draft, price, amount, inQuote, rules, free });
    if (poor) errors.amount = poor;
  }
  return errors;
}

function fieldProblem(text, number, name, complete) {
  if (text.trim() === "") return complete ? problem(`Enter ${name === "amount" ? "an amount" : "a price"}.`) : null;
  if (!number) return problem(`This is not a number.`);
  return number.sign === 0 ? problem(`The ${name} must be above zero.`) : null;
}

function priceProblem(price, { minPrice, maxPrice, tick, quote }) {
  if (minPrice && price.compare(minPrice) < 0) return bound("Lowest price", minPrice, quote);
  if (maxPrice && price.compare(maxPrice) > 0) return bound("Highest price", maxPrice, quote);
  if (tick && !price.isMultipleOf(tick)) return gridProblem("Prices step by", price, tick);
  return null;
}

function quantityProblem(amount, draft, rules) {
  const limits = [[rules.minQuantity, rules.maxQuantity, rules.step]];
  if (draft.type === "market") limits.push([rules.marketMinQuantity, rules.marketMaxQuantity, rules.marketStep]);
  for (const [least, most, step] of limits) {
    if (least && amount.compare(least) < 0) return bound("Smallest amount", least, rules.base);
    if (most && amount.compare(most) > 0) return bound("Largest amount", most, rules.base);
    if (step && !amount.isMultipleOf(step)) return gridProblem("Amounts step by", amount, step);
  }
  return null;
}

function quoteAmountProblem(amount, draft, rules) {
  if (rules.minNotionalAppliesToMarket && rules.minNotional && amount.compare(rules.minNotional) < 0) {
    return bound("Smallest order", rules.minNotional, rules.quote);
  }
  if (amount.trimmed().scale > QUOTE_PLACES) {
    return problem(`Give at most ${QUOTE_PLACES} decimals.`, fixTo(amount.to(QUOTE_PLACES, "down")));
  }
  return null;
}

function notionalProblem(price, amount, { minNotional, maxNotional, step, quote, quantityDecimals }) {
  const notional = price.times(amount);
  if (minNotional && notional.compare(minNotional) < 0) {
    const text = `Smallest order is ${exact(minNotional, 0)} ${quote}; this is ${exact(notional, 2)}.`;
    return problem(text, step ? fixTo(ceilTo(minNotional.over(price, quantityDecimals + 2, "up"), step)) : null);
  }
  if (maxNotional && notional.compare(maxNotional) > 0) {
    const text = `Largest order is ${exact(maxNotional, 0)} ${quote}.`;
    return problem(text, step ? fixTo(maxNotional.over(price, quantityDecimals + 2, "down").floorTo(step)) : null);
  }
  return null;
}

function fundsProblem({ draft, price, amount, inQuote, rules, free }) {
  if (!free) return null;
  const selling = draft.side === "sell";
  if (inQuote ? selling : !selling && draft.type === "market") return null; // the server knows at what price
  const asset = selling ? rules.base : rules.quote;
  if (draft.type === "limit" && !price) return null;
  const needed = selling || inQuote ? amount : price.times(amount);
  if (needed.compare(free) <= 0) return null;
  const text = `Needs ${exact(needed, 2)} ${asset}; ${exact(free, 2)} is free.`;
  return problem(text, fixToFree({ selling, inQuote, price, rules, free }));
}

function fixToFree({ selling, inQuote, price, rules, free }) {
  if (inQuote) return fixTo(free, "Use free balance");
  if (!rules.step) return null;
  const most = selling ? free : free.over(price, rules.quantityDecimals + 2, "down");
  const amount = most.floorTo(rules.step);
  return amount.sign > 0 ? fixTo(amount, "Use free balance") : null;
}

function gridProblem(words, number, step) {
  const below = number.floorTo(step);
  return problem(`${words} ${exact(step, 0)}.`, below.sign > 0 ? fixTo(below) : fixTo(step));
}

function bound(words, limit, asset) {
  return problem(`${words} is ${exact(limit, 0)} ${asset}.`, fixTo(limit.trimmed()));
}

function problem(text, fix = null) {
  return { text, fix };
}

function fixTo(value, label = null) {
  const number = value instanceof Decimal ? value : ZERO;
  return { label: label ?? `Use ${grouped(number)}`, value: number.toString() };
}

function ceilTo(number, step) {
  const below = number.floorTo(step);
  return below.compare(number) < 0 ? below.plus(step).to(step.scale) : below;
}

// What taking `amount` from these levels costs: {quote, base, complete}; amount counts quote when `inQuote`.
export function walk(levels, amount, inQuote) {
  let base = ZERO;
  let quote = ZERO;
  for (const [priceText, quantityText] of levels) {
    const price = decimal(priceText);
    const quantity = decimal(quantityText);
    const value = price.times(quantity);
    const left = amount.minus(inQuote ? quote : base);
    if ((inQuote ? value : quantity).compare(left) >= 0) {
      const part = inQuote ? left.over(price, 12, "down") : left;
      return { base: base.plus(part), quote: inQuote ? amount : quote.plus(part.times(price)), complete: true };
    }
    base = base.plus(quantity);
    quote = quote.plus(value);
  }
  return { base, quote, complete: false };
}
