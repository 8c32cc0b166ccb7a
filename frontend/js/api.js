// Calls to our server. Every failure becomes one of two errors: Refusal (the server said no, and why) or
// NoAnswer (nothing came back in time, so what was asked may or may not have happened).

export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
    this.code = problem.code ?? `http_${status}`;
    this.errors = problem.errors ?? {};
    this.field = Object.keys(this.errors)[0] ?? null;
  }
}

export class NoAnswer extends Error {}

const PATIENCE_MS = 10_000;

export async function call(method, path, { body, patienceMs = PATIENCE_MS } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patienceMs),
    });
    answer = await response.text();
  } catch (cause) {
    throw new NoAnswer("The server did not answer.", { cause });
  }
  const parsed = parse(answer);
  if (!response.ok) throw new Refusal(response.status, parsed ?? {});
  if (parsed === null) throw new NoAnswer("The server's answer could not be read.");
  return parsed;
}

// The server's own state; it answers with one even when it is unwell.
export async function health() {
  try {
    const response = await fetch("/health", { signal: AbortSignal.timeout(PATIENCE_MS) });
    return await response.json();
  } catch (cause) {
    throw new NoAnswer("The server did not answer.", { cause });
  }
}

export const get = (path, options) => call("GET", path, options);

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function query(parameters) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  return new URLSearchParams(known).toString();
}
