// Sending an order so that it happens at most once. Each order carries an id made here. When no answer comes, the
// server is asked for that id; only the user's own press sends again, under the same id, which cannot place it twice.

import { NoAnswer, Refusal, call, get, query } from "./api.js";

const PATIENCE_MS = 5000;
const ASKS = 4;
const PAUSE_MS = 1500;
const UNKNOWN_OUTCOME = "outcome_unknown";

export class NotSettled extends Error {
  // `arrived` is false when the server answered that it has no such order, null when it could not be asked.
  constructor(arrived) {
    const missing = "The order did not reach the exchange.";
    const unsure = "No answer: the order may or may not have been placed.";
    super(arrived === false ? missing : unsure);
    this.arrived = arrived;
  }
}

export function newClientOrderId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `web-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// The order as the server has it. Rejects with Refusal (nothing was placed) or NotSettled (it is not known, or it
// did not arrive; the same request may be sent again). `asking()` is told when the answer is overdue.
export async function placeOrder(request, asking) {
  try {
    return await call("POST", "orders", { body: request, patienceMs: PATIENCE_MS });
  } catch (error) {
    if (!isOpenQuestion(error)) throw error;
  }
  asking();
  let arrived = null;
  for (let ask = 0; ask < ASKS; ask += 1) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    try {
      const found = await get(`orders?${query({ client_order_id: request.client_order_id })}`, { patienceMs: PATIENCE_MS });
      if (found.orders.length) return found.orders[0];
      arrived = false;
    } catch (error) {
      if (!(error instanceof NoAnswer || error instanceof Refusal)) throw error;
      arrived = null;
    }
  }
  throw new NotSettled(arrived);
}

function isOpenQuestion(error) {
  return error instanceof NoAnswer || (error instanceof Refusal && error.code === UNKNOWN_OUTCOME);
}
