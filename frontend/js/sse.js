// Server-sent events over fetch: the framing only. Unlike EventSource it can send Last-Event-ID on a new
// connection, sees the heartbeat comments, and can read why the server refused.

// Feed text in as it arrives; `onEvent({event, data, id})` is called for each complete event.
export class EventParser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.lastId = "";
    this.clear();
  }

  push(chunk) {
    const lines = (this.rest + chunk).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.onEvent({ event: this.event || "message", data: this.data.join("\n"), id: this.lastId });
      this.clear();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id") this.lastId = value;
  }

  clear() {
    this.event = "";
    this.data = [];
  }
}
