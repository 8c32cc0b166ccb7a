// The dialog that says why a fill came about: the server's sentence, and the evidence under it.

import { get } from "./api.js";
import { decimal } from "./decimal.js";
import { $, make, write } from "./dom.js";
import { age, exact, moment } from "./format.js";
import { state } from "./store.js";
import { toast } from "./toasts.js";

export const CERTAINTIES = {
  certain: "Taken from the book, or the market went through the price.",
  likely: "Would have come even with every cancellation behind the order.",
  modelled: "Rests on the estimate of who cancelled in the queue.",
};

const CAUSES = {
  arrival: "taken on arrival",
  print: "trade at the price",
  print_through: "trade through the price",
  book: "opposite quote",
};

export async function showReceipt(id) {
  let receipt;
  try {
    receipt = await get(`fills/${id}/receipt`);
  } catch (error) {
    toast({ key: "receipt", tone: "bad", title: "No receipt", detail: error.message });
    return;
  }
  write($("receipt-sentence"), receipt.sentence);
  const facts = factsOf(receipt).filter(([, value]) => value !== null);
  $("receipt-facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  if (!$("receipt").open) $("receipt").showModal();
}

function factsOf(receipt) {
  const rules = state.rules.get(receipt.symbol);
  const base = rules?.base ?? "";
  const price = (value) => (value === null ? null : exact(value, rules?.priceDecimals ?? 0));
  const size = (value) => (value === null ? null : `${exact(value, rules?.quantityDecimals ?? 0)} ${base}`);
  const some = (value) => (decimal(value)?.sign ? size(value) : null);
  const queue = receipt.queue_ahead_before === null ? null : `${size(receipt.queue_ahead_before)} \u2192 ${size(receipt.queue_ahead_after)}`;
  return [
    ["Time (UTC)", moment(Date.parse(receipt.filled_at))],
    ["Fill", `${size(receipt.quantity)} at ${price(receipt.price)}`],
    ["Cause", CAUSES[receipt.cause] ?? receipt.cause],
    ["Certainty", receipt.certainty],
    ["Trade", receipt.trade_id === null ? null : String(receipt.trade_id)],
    ["Trade size", size(receipt.trade_quantity)],
    ["Book update", receipt.update_id === null ? null : String(receipt.update_id)],
    ["Level", receipt.level_price === null ? null : `${size(receipt.level_quantity)} at ${price(receipt.level_price)}`],
    ["Traded away there", some(receipt.waiting)],
    ["You had taken there", some(receipt.taken_before)],
    ["Ahead in the queue", queue],
    ["Time in the book", receipt.queued_ms === null ? null : age(receipt.queued_ms)],
    ["Best bid, ask", receipt.best_bid === null || receipt.best_ask === null ? null : `${price(receipt.best_bid)}, ${price(receipt.best_ask)}`],
    ["Order", `${receipt.order_id}, fill ${receipt.fill_number}`],
  ];
}
