// From the ticket's button to the answer: builds the request, holds the button, and says what became of the order.
// A refusal keeps the draft; an unanswered order keeps its id until the user decides.

import { Refusal } from "./api.js";
import { decimal } from "./decimal.js";
import { $, make, setHidden } from "./dom.js";
import { applyOrder } from "./feed.js";
import { exact } from "./format.js";
import { typed } from "./rules.js";
import { NotSettled, newClientOrderId, placeOrder } from "./send.js";
import { bookState, state, touch } from "./store.js";
import { exclaim, say, toast } from "./toasts.js";

const FIELDS = { price: "price", quantity: "amount", quote_quantity: "amount" };

// What the ticket shows of a submission: sending {asked}, unanswered, refused {field, text}.
export const submission = { sending: null, unanswered: null, refused: null };

export function requestFrom(draft, rules) {
  const amount = typed(draft.amount).toString();
  const request = { client_order_id: newClientOrderId(), symbol: rules.symbol, side: draft.side, type: draft.type };
  if (draft.type === "market") return { ...request, [draft.unit === "quote" ? "quote_quantity" : "quantity"]: amount };
  const resting = draft.postOnly ? { post_only: true } : {};
  return { ...request, quantity: amount, price: typed(draft.price).toString(), time_in_force: draft.tif, ...resting };
}

// Send it; `placed(order)` follows an order that exists, filled or resting or expired.
export async function send(request, placed) {
  if (submission.sending) return;
  submission.sending = { asked: false };
  submission.unanswered = null;
  clearResult();
  touch("draft");
  try {
    const order = await placeOrder(request, () => {
      submission.sending.asked = true;
      touch("draft");
    });
    showPlaced(order);
    applyOrder(order, true);
    placed(order);
  } catch (error) {
    if (error instanceof Refusal) showRefusal(error);
    else if (error instanceof NotSettled) showUnanswered(error, request, placed);
    else throw error;
  } finally {
    submission.sending = null;
    touch("draft");
  }
}

function showPlaced(order) {
  const waits = order.status === "new" && bookState() !== "live";
  const sentence = waits ? "Accepted; it joins the book when that is live." : placedWords(order);
  showResult(make("span", {}, sentence));
  if (!order.fills?.length) say(`order ${order.id}`, sentence);
}

function placedWords(order) {
  const decimals = state.rules.get(order.symbol)?.priceDecimals ?? 0;
  switch (order.status) {
    case "new":
      return "Accepted; it rests in the book.";
    case "partially_filled":
      return "Partly filled; the rest stays in the book.";
    case "filled":
      return `Filled at ${exact(order.average_price, decimals)} on average.`;
    case "expired":
      return decimal(order.filled_quantity)?.sign
        ? "Partly filled; the rest expired because nothing more could be taken."
        : "Expired: it could not be filled at once.";
    default:
      return `The order is ${order.status.replaceAll("_", " ")}${order.reason ? `: ${order.reason}` : ""}.`;
  }
}

function showRefusal(refusal) {
  const reasons = Object.values(refusal.errors).flat();
  const sentence = [refusal.message, ...reasons.filter((reason) => !refusal.message.includes(reason))].join(" ");
  const where = [refusal.code, refusal.field].filter(Boolean).join(" \u00b7 ");
  showResult(make("b", { class: "down" }, "Refused "), make("span", {}, `${sentence} `), make("span", { class: "code" }, where));
  const field = FIELDS[refusal.field] ?? null;
  submission.refused = field ? { field, text: sentence } : null;
  if (field) $(field).focus();
  toast({ key: "refusal", tone: "bad", title: "Order refused", detail: sentence, spoken: false });
  exclaim(`Order refused. ${sentence}`);
}

function showUnanswered(error, request, placed) {
  submission.unanswered = request;
  const again = make("button", { type: "button" }, "Send again");
  const leave = make("button", { type: "button" }, "Discard");
  again.addEventListener("click", () => send(request, placed));
  leave.addEventListener("click", () => {
    submission.unanswered = null;
    clearResult();
    touch("draft");
  });
  const sentence = `${error.message} Sending again is safe: it carries the same id and cannot be placed twice.`;
  showResult(make("b", { class: "down" }, error.arrived === false ? "Not placed " : "Unknown "), sentence, " ", again, " ", leave);
  toast({ key: "unanswered", tone: "bad", title: "No answer to your order", detail: "The ticket says what can be done.", lasting: true, spoken: false });
  exclaim(sentence);
}

function showResult(...content) {
  $("result").replaceChildren(...content);
  setHidden($("result"), false);
}

// The draft was touched: what was said about the last one is over, unless its fate is still open.
export function clearResult() {
  submission.refused = null;
  if (!submission.unanswered) setHidden($("result"), true);
}
