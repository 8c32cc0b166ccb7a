// The connection to /api/v1/stream: opens it, notices silence, retries with a growing pause, rests while the tab is
// hidden. It knows the link's state (`state.link`), not what the messages mean: those go to `onEvent(name, message)`.

import { EventParser } from "./sse.js";
import { state, touch } from "./store.js";

const RETRY_MS = [1000, 2000, 4000, 8000];
const SILENCE_MS = 20_000; // the server sends at least a comment every 15 s
const CONNECT_MS = 10_000;
const LOOK_MS = 1000;
const HIDDEN_REST_MS = 60_000;

export class Stream {
  // prepare() runs before each connection and returns the symbols to ask for; it may reject to cause a retry.
  constructor({ prepare, onEvent }) {
    this.prepare = prepare;
    this.onEvent = onEvent;
    this.lastEventId = "";
    this.attempt = 0;
    this.current = null;
    this.retryTimer = 0;
    this.watchdog = 0;
    this.deadline = Infinity;
    this.hiddenTimer = 0;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    window.addEventListener("online", () => this.#retryNowIfWaiting());
    this.connect();
  }

  // Drop what is open and connect at once: after a change of symbols, or when the user asks.
  connect() {
    this.#drop();
    const attempt = new AbortController();
    this.current = attempt;
    this.#setLink("connecting");
    this.#run(attempt).catch((error) => {
      if (this.current === attempt) this.#wait(error);
    });
  }

  async #run(attempt) {
    this.#expect(CONNECT_MS);
    const symbols = await this.prepare();
    if (this.current !== attempt) return;
    const headers = { Accept: "text/event-stream" };
    if (this.lastEventId) headers["Last-Event-ID"] = this.lastEventId;
    const response = await fetch(`/api/v1/stream?symbols=${symbols.join(",")}`, {
      headers,
      cache: "no-store",
      signal: attempt.signal,
    });
    if (!response.ok) throw new Error(await refusalText(response));
    const parser = new EventParser((message) => this.#received(message));
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      this.#expect(SILENCE_MS);
      const { value, done } = await reader.read();
      if (this.current !== attempt) return;
      if (done) throw new Error("the server closed the connection");
      parser.push(decoder.decode(value, { stream: true }));
    }
  }

  #received({ event, data, id }) {
    if (id) this.lastEventId = id;
    if (event === "hello") {
      this.attempt = 0;
      this.#setLink("open");
    }
    this.onEvent(event, JSON.parse(data));
  }

  // Something must arrive within `ms`. Moves a deadline that a slow timer looks at: cheaper than a timer a message.
  #expect(ms) {
    this.deadline = performance.now() + ms;
    this.watchdog ||= setInterval(() => {
      if (performance.now() > this.deadline) this.current?.abort(new Error("nothing heard from the server"));
    }, LOOK_MS);
  }

  #wait(error) {
    this.#drop();
    const pause = RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2);
    this.attempt += 1;
    this.retryTimer = setTimeout(() => this.connect(), pause);
    this.#setLink("waiting", { retryAt: Date.now() + pause, reason: error.message });
  }

  #drop() {
    clearTimeout(this.retryTimer);
    clearInterval(this.watchdog);
    this.watchdog = 0;
    const open = this.current;
    this.current = null;
    open?.abort();
  }

  #visibilityChanged() {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = setTimeout(() => {
        this.#drop();
        this.#setLink("paused");
      }, HIDDEN_REST_MS);
    } else if (!this.current) {
      this.connect();
    }
  }

  #retryNowIfWaiting() {
    if (state.link.phase === "waiting") this.connect();
  }

  #setLink(phase, { retryAt = 0, reason = null } = {}) {
    // While retrying, keep saying so: "connecting" between two failed attempts would make the banner flicker.
    const lost = state.link.lost || phase === "waiting";
    state.link = { phase, retryAt, reason, lost: phase === "open" ? false : lost };
    touch("link", "status", "book", "draft");
  }
}

async function refusalText(response) {
  try {
    return (await response.json()).detail ?? `the server answered ${response.status}`;
  } catch {
    return `the server answered ${response.status}`;
  }
}
