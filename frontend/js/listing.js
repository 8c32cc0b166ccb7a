// Trading rules of symbols, fetched when they are first needed: one by one for what the page shows, all of them (over
// a megabyte on Binance) only when the switcher is opened.

import { Refusal, get, query } from "./api.js";
import { rulesFrom } from "./rules.js";
import { state, touch } from "./store.js";

const RETRY_MS = 2000;

const asked = new Map(); // symbol -> promise of whether it is listed
let everything = null;

// Fetch the rules of a symbol unless they are here. Resolves to false when the venue does not list it.
export function wantRules(name) {
  if (state.rules.has(name)) return Promise.resolve(true);
  if (!asked.has(name)) asked.set(name, fetchRules(name).finally(() => asked.delete(name)));
  return asked.get(name);
}

async function fetchRules(name) {
  for (;;) {
    try {
      keep(await get(`symbols?${query({ symbol: name })}`));
      return true;
    } catch (error) {
      if (error instanceof Refusal && error.code === "unknown_symbol") return false;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

// Fetch all listed symbols once; a failure is tried again by the next who asks.
export function wantEveryRule() {
  everything ??= get("symbols").then(keep, () => {
    everything = null;
  });
  return everything;
}

function keep({ symbols }) {
  for (const row of symbols) state.rules.set(row.symbol, rulesFrom(row));
  touch("rules", "draft");
}
