// What happened to us: a toast for the eye and one sentence for the screen reader. Own fills, refusals, a lost link.
// At most three toasts; six seconds each, errors until dismissed; news of the same order replaces the old toast.

import { $, icon, make } from "./dom.js";

const MOST = 3;
const SHOWN_MS = 6000;
const MERGE_MS = 2000;

const shown = new Map(); // key -> {node, timer}
let sentences = new Map();
let speaking = 0;

// tone: "good", "bad", "warn". `lasting` ones stay until dismissed; `spoken: false` where somebody else says it.
export function toast({ key, tone, title, detail = "", lasting = false, spoken = true }) {
  dismiss(key);
  const close = make("button", { type: "button", class: "tool", "aria-label": "Dismiss" }, icon("close"));
  const node = make("div", { class: "toast", "data-tone": tone }, make("i", { class: "dot" }), make("b", {}, title), close);
  if (detail) node.append(make("p", {}, detail));
  close.addEventListener("click", () => dismiss(key));
  const timer = lasting ? 0 : setTimeout(() => dismiss(key), SHOWN_MS);
  shown.set(key, { node, timer });
  $("toasts").append(node);
  while (shown.size > MOST) dismiss(shown.keys().next().value);
  if (spoken) say(key, [title, detail].filter(Boolean).join(". "));
}

function dismiss(key) {
  const each = shown.get(key);
  if (!each) return;
  clearTimeout(each.timer);
  each.node.remove();
  shown.delete(key);
}

// Speak politely; what is said about the same thing within two seconds is merged, the last word counts.
export function say(key, sentence) {
  sentences.set(key, sentence);
  speaking ||= setTimeout(() => {
    speaking = 0;
    $("polite").textContent = [...sentences.values()].join(" ");
    sentences = new Map();
  }, MERGE_MS);
}

// Interrupt: only for a send that failed.
export function exclaim(sentence) {
  $("assertive").textContent = sentence;
}
