// The account dialog: who this account is, and the reset with a balance of one's choice.

import { NoAnswer, call } from "./api.js";
import { $, make, setAttribute, setClass, setHidden, write } from "./dom.js";
import { UNKNOWN, grouped, moment, rounded } from "./format.js";
import { typed } from "./rules.js";
import { state } from "./store.js";

let sending = false;
let afterReset = async () => {};

export function startAccount(given) {
  afterReset = given.afterReset;
  $("account-open").addEventListener("click", open);
  $("account-close").addEventListener("click", () => $("account").close());
  $("reset-form").addEventListener("input", check);
  $("reset-form").addEventListener("click", (event) => {
    const button = event.target.closest("[data-balance]");
    if (!button) return;
    $("reset-balance").value = button.dataset.balance;
    check();
  });
  $("reset-form").addEventListener("submit", (event) => {
    event.preventDefault();
    reset();
  });
}

function open() {
  const { account, portfolio } = state;
  const facts = [
    ["Name", account?.name ?? UNKNOWN],
    ["Venue", account?.venue ?? UNKNOWN],
    ["Epoch", account ? String(account.epoch) : UNKNOWN],
    ["Since (UTC)", account ? moment(Date.parse(account.epoch_started_at), 0) : UNKNOWN],
    ["Equity", `${rounded(portfolio?.total_value, 2)} USDT`],
    ["Fees paid", `${rounded(portfolio?.fees_paid, 2)} USDT`],
  ];
  $("account-facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  write($("reset-expected"), account?.name ?? UNKNOWN);
  $("reset-name").value = "";
  fault("reset", null);
  check();
  $("account").showModal();
}

function check() {
  const balance = typed($("reset-balance").value);
  fault("reset-balance", balance?.sign ? null : "Enter an amount above zero.");
  $("reset-send").disabled = sending || !balance?.sign || !state.account || $("reset-name").value.trim() !== state.account.name;
}

async function reset() {
  const balance = typed($("reset-balance").value);
  if ($("reset-send").disabled || !balance) return;
  sending = true;
  check();
  try {
    await call("POST", "account/reset", { body: { balances: { USDT: balance.toString() } } });
    $("account").close();
    await afterReset(`${grouped(balance)} USDT`);
  } catch (error) {
    const unsure = error instanceof NoAnswer ? " Look at the equity above before you try again." : "";
    fault("reset", `${error.message}${unsure}`);
  } finally {
    sending = false;
    check();
  }
}

function fault(field, text) {
  write($(`${field}-error`), text ?? "");
  setHidden($(`${field}-error`), !text);
  if (field === "reset") return;
  setClass($(field).closest(".field"), "wrong", Boolean(text));
  setAttribute($(field), "aria-invalid", String(Boolean(text)));
}
