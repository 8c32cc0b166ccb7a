// The one paint loop. Panels say which topics they show; one requestAnimationFrame draws the dirty ones that can be
// seen. A panel may ask for fewer paints than frames (`everyMs`). Nothing else on the page writes to the document
// because a message came in.

import { onTouch, takeTouched } from "./store.js";

const BEAT_MS = 100;

const panels = [];
const urgent = new Set(); // topics of panels without a pace
let frame = 0;
let timer = 0;
let beatAt = -Infinity;

// Register a panel: {topics, paint, everyMs = 0, visible = () => true}. It is painted once at the next frame. Panels
// with a pace are painted together on a common beat of ten a second, so that ten messages cost one layout.
export function panel({ topics, paint, everyMs = 0, visible = () => true }) {
  panels.push({ topics: new Set(topics), paint, everyMs, visible, dirty: true, dueAt: -Infinity });
  if (!everyMs) for (const topic of topics) urgent.add(topic);
  soon();
}

export function startPainting() {
  onTouch((topics) => (topics.some((topic) => urgent.has(topic)) ? soon() : onTheBeat()));
  soon();
}

function soon() {
  if (!frame) frame = requestAnimationFrame(paintDirty);
}

function onTheBeat() {
  if (frame || timer) return;
  timer = setTimeout(soon, Math.max(0, beatAt + BEAT_MS - performance.now()));
}

function paintDirty(now) {
  frame = 0;
  clearTimeout(timer);
  timer = 0;
  const topics = takeTouched();
  const beat = now - beatAt >= BEAT_MS - 4; // frames come every 16 ms; do not miss the beat by a hair
  let waiting = false;
  for (const each of panels) {
    each.dirty ||= topics.some((topic) => each.topics.has(topic));
    if (!each.dirty || !each.visible()) continue;
    if (each.everyMs && !(beat && now >= each.dueAt)) {
      waiting = true;
      continue;
    }
    each.dirty = false;
    each.dueAt = now + each.everyMs - BEAT_MS / 2;
    try {
      each.paint();
    } catch (error) {
      // One broken panel must not stop the others; the console says which.
      console.error(error);
    }
  }
  if (beat) beatAt = now;
  if (waiting) onTheBeat();
}
