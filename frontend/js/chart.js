// Candles, volume, our orders, fills and average entry, drawn by lightweight-charts. The library is optional: without
// it the panel says how to get it and everything else works. Floats are right here: this is a picture.

import { get, query } from "./api.js";
import { $, make, setHidden, write } from "./dom.js";
import { decimal } from "./decimal.js";
import { UNKNOWN, grouped, pair, short } from "./format.js";
import { panel } from "./paint.js";
import { openOrders, state, touch } from "./store.js";
import { isPanelShown } from "./views.js";

const INTERVALS = { "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400 };
const PAGE = 500;
const MOST_CANDLES = 10_000;
const SETTLE_MS = 1500; // after a candle ends, how long until its last print has surely reached the server
const RETRY_MS = 3000;
const RIGHT_OFFSET = 6; // candles of empty space at the right

let library = null;
let chart;
let candleSeries;
let volumeSeries;
let markers;
let candles = []; // oldest first: {time, open, high, low, close, volume}
let interval = remembered();
let loadNumber = 0;
let loadingOlder = false;
let moreBefore = false;
let drawnTo = null; // time of the last candle drawn; null: the series must be set anew
let toEnd = true; // after a change of symbol or interval the newest candle comes into sight
let lines = new Map();
let pointedTime = null;
let colours = {};

export async function startChart() {
  makeIntervals();
  panel({ topics: ["symbol", "candles", "rules", "link"], paint: paintLegend, everyMs: 300, visible: () => isPanelShown("chart") });
  try {
    library = await import("../vendor/lightweight-charts.js");
  } catch {
    setHidden($("chart-missing"), false);
    return;
  }
  readColours();
  build();
  panel({ topics: ["candles", "symbol"], paint: paintCandles, everyMs: 300, visible: () => isPanelShown("chart") });
  panel({ topics: ["orders", "symbol", "rules", "portfolio", "candles-loaded", "theme"], paint: paintLines, everyMs: 300, visible: () => isPanelShown("chart") });
  panel({ topics: ["fills", "symbol", "candles-loaded", "theme"], paint: paintMarkers, everyMs: 300, visible: () => isPanelShown("chart") });
  panel({ topics: ["theme"], paint: restyle });
  panel({ topics: ["symbol", "rules"], paint: () => candleSeries.applyOptions({ priceFormat: priceFormat() }) });
  loadCandles();
}

// Fetch the chosen symbol's candles anew: after a change of symbol or interval, or when the stream had a gap.
export async function loadCandles() {
  if (!library || !state.symbol) return;
  const mine = (loadNumber += 1);
  const symbol = state.symbol;
  write($("chart-note"), "Loading candles");
  try {
    const answer = await get(`candles?${query({ symbol, interval, limit: PAGE })}`);
    if (mine !== loadNumber) return;
    candles = answer.candles.map(toBar);
    moreBefore = answer.candles.length >= PAGE;
    drawnTo = null;
    write($("chart-note"), candles.length ? "" : "No candles yet");
    touch("candles", "candles-loaded");
  } catch (error) {
    if (mine !== loadNumber) return;
    write($("chart-note"), `No candles: ${error.message}`);
    setTimeout(() => mine === loadNumber && loadCandles(), RETRY_MS);
  }
}

export function clearCandles() {
  loadNumber += 1;
  candles = [];
  drawnTo = null;
  toEnd = true;
  touch("candles");
}

// Bring new prints (newest first) into the running candle.
export function addToCandle(prints) {
  if (!candles.length) return;
  for (const print of [...prints].reverse()) {
    const time = bucket(print.time_ms);
    const price = Number(print.price);
    const size = Number(print.quantity);
    const last = candles[candles.length - 1];
    if (time < last.time) continue;
    if (time === last.time) {
      last.high = Math.max(last.high, price);
      last.low = Math.min(last.low, price);
      last.close = price;
      last.volume += size;
    } else {
      candles.push({ time, open: price, high: price, low: price, close: price, volume: size });
      setTimeout(() => settle(state.symbol, interval), SETTLE_MS);
    }
  }
  touch("candles");
}

// A candle has ended: replace it by the server's, which counts every print once.
async function settle(symbol, forInterval) {
  const mine = loadNumber;
  try {
    const answer = await get(`candles?${query({ symbol, interval: forInterval, limit: 3 })}`);
    if (mine !== loadNumber) return;
    for (const bar of answer.candles.map(toBar)) {
      const at = candles.findLastIndex((each) => each.time === bar.time);
      if (at >= 0 && at < candles.length - 1) candles[at] = bar;
    }
    drawnTo = null;
    touch("candles");
  } catch {
    // The bars drawn from the prints stand; the next candle's end asks again.
  }
}

async function loadOlder() {
  if (loadingOlder || !moreBefore || !candles.length || candles.length >= MOST_CANDLES) return;
  loadingOlder = true;
  const mine = loadNumber;
  write($("chart-note"), "Loading history");
  try {
    const before = candles[0].time * 1000;
    const answer = await get(`candles?${query({ symbol: state.symbol, interval, limit: PAGE, before })}`);
    if (mine !== loadNumber) return;
    const older = answer.candles.map(toBar).filter((bar) => bar.time < candles[0].time);
    moreBefore = older.length > 0;
    candles = [...older, ...candles];
    drawnTo = null;
    write($("chart-note"), "");
    touch("candles", "candles-loaded");
  } catch (error) {
    if (mine === loadNumber) write($("chart-note"), `No history: ${error.message}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  } finally {
    loadingOlder = false;
  }
}

function toBar(row) {
  return {
    time: row.open_time_ms / 1000,
    open: Number(row.open),
    high: Number(row.high),
    low: Number(row.low),
    close: Number(row.close),
    volume: Number(row.volume),
  };
}

function bucket(ms) {
  const length = INTERVALS[interval];
  return Math.floor(ms / 1000 / length) * length;
}

function build() {
  chart = library.createChart($("chart"), {
    autoSize: true,
    ...look(),
    crosshair: { mode: library.CrosshairMode.Normal },
    timeScale: { timeVisible: true, secondsVisible: false, rightOffset: RIGHT_OFFSET, barSpacing: 6 },
  });
  candleSeries = chart.addSeries(library.CandlestickSeries, candleLook());
  volumeSeries = chart.addSeries(library.HistogramSeries, {
    priceScaleId: "volume",
    priceFormat: { type: "volume" },
    lastValueVisible: false,
    priceLineVisible: false,
  });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
  candleSeries.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.2 } });
  markers = library.createSeriesMarkers(candleSeries, []);
  chart.subscribeCrosshairMove((move) => {
    pointedTime = move.time ?? null;
    touch("candles");
  });
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
    if (range && range.from < 30 && !toEnd) loadOlder();
  });
}

function readColours() {
  const probe = make("i");
  document.body.append(probe);
  const read = (token) => {
    probe.style.color = `var(--${token})`;
    return getComputedStyle(probe).color;
  };
  colours = Object.fromEntries(
    ["panel", "line", "line-strong", "text-2", "text-3", "up", "down", "accent"].map((token) => [token, read(token)]),
  );
  probe.remove();
}

function look() {
  return {
    layout: {
      background: { color: colours.panel },
      textColor: colours["text-3"],
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: 11,
      attributionLogo: true,
    },
    grid: { vertLines: { color: withAlpha(colours.line, 0.55) }, horzLines: { color: withAlpha(colours.line, 0.55) } },
    rightPriceScale: { borderColor: colours.line },
    timeScale: { borderColor: colours.line },
  };
}

function candleLook() {
  return {
    upColor: colours.up,
    downColor: colours.down,
    wickUpColor: colours.up,
    wickDownColor: colours.down,
    borderVisible: false,
    priceLineColor: colours["text-3"],
    priceFormat: priceFormat(),
  };
}

function priceFormat() {
  const decimals = state.rules.get(state.symbol)?.priceDecimals ?? 2;
  return {
    type: "custom",
    minMove: 10 ** -decimals,
    formatter: (price) => grouped(price.toFixed(decimals)),
  };
}

function withAlpha(colour, alpha) {
  return colour.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}

function restyle() {
  readColours();
  chart.applyOptions(look());
  candleSeries.applyOptions(candleLook());
  drawnTo = null;
  lines.forEach(({ line }) => candleSeries.removePriceLine(line));
  lines = new Map();
  touch("candles");
}

function paintCandles() {
  const last = candles[candles.length - 1];
  if (drawnTo === null || !last) {
    candleSeries.setData(candles);
    volumeSeries.setData(candles.map(volumeBar));
    if (last && toEnd) chart.timeScale().scrollToPosition(RIGHT_OFFSET, false);
    if (last) toEnd = false;
  } else {
    // More than one candle may have begun since the last paint; update them in order.
    for (const bar of candles.slice(-10)) {
      if (bar.time < drawnTo) continue;
      candleSeries.update(bar);
      volumeSeries.update(volumeBar(bar));
    }
  }
  drawnTo = last?.time ?? null;
}

function volumeBar(bar) {
  return { time: bar.time, value: bar.volume, color: withAlpha(bar.close >= bar.open ? colours.up : colours.down, 0.34) };
}

// One dashed line for each open order and one for the average entry; kept, moved or removed by key.
function paintLines() {
  const wanted = new Map();
  for (const order of openOrders()) {
    if (order.symbol !== state.symbol || !order.price) continue;
    const buy = order.side === "buy";
    const left = decimal(order.quantity)?.minus(decimal(order.filled_quantity));
    wanted.set(`order ${order.id} ${left}`, {
      price: Number(order.price),
      color: buy ? colours.up : colours.down,
      lineStyle: library.LineStyle.Dashed,
      title: `${buy ? "Buy" : "Sell"} ${left ? grouped(left.trimmed()) : ""}`,
    });
  }
  const entry = state.portfolio?.positions?.[state.symbol];
  if (entry && decimal(entry.quantity)?.sign && decimal(entry.average_price)) {
    wanted.set(`entry ${entry.average_price}`, {
      price: Number(entry.average_price),
      color: colours.accent,
      lineStyle: library.LineStyle.Solid,
      title: "Entry",
    });
  }
  for (const [key, { line }] of lines) {
    if (wanted.has(key)) continue;
    candleSeries.removePriceLine(line);
    lines.delete(key);
  }
  for (const [key, options] of wanted) {
    if (lines.has(key)) continue;
    lines.set(key, { line: candleSeries.createPriceLine({ ...options, lineWidth: 1, axisLabelVisible: true }) });
  }
}

function paintMarkers() {
  const first = candles[0]?.time;
  const found = [];
  for (const fill of state.fills.values()) {
    const time = bucket(Date.parse(fill.filled_at));
    if (fill.symbol !== state.symbol || first === undefined || time < first) continue;
    const buy = fill.side === "buy";
    found.push({
      time,
      position: buy ? "belowBar" : "aboveBar",
      shape: buy ? "arrowUp" : "arrowDown",
      color: buy ? colours.up : colours.down,
      size: 0.8,
    });
  }
  found.sort((one, other) => one.time - other.time);
  markers.setMarkers(found.filter((each, at) => each.time !== found[at - 1]?.time || each.shape !== found[at - 1]?.shape));
}

function paintLegend() {
  const decimals = state.rules.get(state.symbol)?.priceDecimals ?? 2;
  const shown = candles.find((bar) => bar.time === pointedTime) ?? candles[candles.length - 1];
  const legend = $("legend");
  if (!shown) {
    legend.replaceChildren();
    write($("chart-summary"), "");
    return;
  }
  const tone = shown.close >= shown.open ? "up" : "down";
  const number = (value) => grouped(value.toFixed(decimals));
  const parts = [["O", shown.open], ["H", shown.high], ["L", shown.low], ["C", shown.close]];
  if (legend.childElementCount !== 6) {
    legend.replaceChildren(make("span"), ...[0, 1, 2, 3, 4].map(() => make("span", {}, document.createTextNode(""), make("b"))));
  }
  const [title, ...cells] = legend.children;
  write(title, interval);
  parts.forEach(([letter, value], at) => legendCell(cells[at], letter, number(value), tone));
  legendCell(cells[4], "Vol", short(shown.volume.toFixed(4)), "");
  summarise(number);
}

function legendCell(cell, letter, text, tone) {
  write(cell, `${letter} `);
  const value = cell.lastElementChild;
  write(value, text);
  if (value.className !== tone) value.className = tone;
}

// The same picture in words, for those who cannot see it. Not a live region.
function summarise(number) {
  const recent = candles.slice(-100);
  const high = Math.max(...recent.map((bar) => bar.high));
  const low = Math.min(...recent.map((bar) => bar.low));
  const name = pair(state.rules.get(state.symbol), state.symbol ?? UNKNOWN);
  const last = recent[recent.length - 1];
  write($("chart-summary"), `${name}, ${interval} candles: last ${number(last.close)}. Of the last ${recent.length}: high ${number(high)}, low ${number(low)}, first open ${number(recent[0].open)}.`);
}

function makeIntervals() {
  const group = $("intervals");
  for (const name of Object.keys(INTERVALS)) {
    const input = make("input", { type: "radio", name: "interval", value: name });
    input.checked = name === interval;
    group.append(make("label", {}, input, make("span", {}, name)));
  }
  group.addEventListener("change", (event) => {
    interval = event.target.value;
    try {
      localStorage.setItem("interval", interval);
    } catch {
      // Not remembered, that is all.
    }
    clearCandles();
    loadCandles();
  });
}

function remembered() {
  try {
    const kept = localStorage.getItem("interval");
    return kept in INTERVALS ? kept : "5m";
  } catch {
    return "5m";
  }
}
