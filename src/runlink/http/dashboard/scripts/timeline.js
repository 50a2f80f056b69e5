// A Run as bars on one time axis, across engines: a table, so that it can be read without being seen. `run` comes here.

import { el } from "./dom.js";
import { absolute, between, clock, count, duration, now } from "./format.js";
import { engine, hasEnded, loading, status } from "./parts.js";

const FEW_STEPS = 100; // shown at once; the rest when asked for
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 604800, 2592000];

/** `opened` holds the names of the parts that are open, and is changed by clicks, after which `again` is called. */
export function timeline(bars, opened, again) {
  if (!bars.length) return loading();
  const span = spanOf(bars);
  const rows = [];
  let instance = 0;
  for (let n = 0; n < bars.length; n++) {
    const bar = bars[n];
    if (bar.depth > 1) continue;
    const inner = [];
    for (let m = n + 1; m < bars.length && bars[m].depth > 1; m++) inner.push(bars[m]);
    const key = bar.kind === "run" ? "run" : `${bar.engine} ${bar.external_id}`;
    instance += bar.kind === "instance";
    const isOpen = opened.has(key) || (!opened.has(`-${key}`) && inner.length > 0 && inner.length <= 12 && instance <= 6);
    const attempts = inner.filter((part) => part.kind === "attempt");
    rows.push(rowOf(bar, key, span, attempts, inner.length ? toggle(key, isOpen, inner, opened, again) : null));
    if (isOpen) rows.push(...innerRows(inner, key, span, opened, again));
  }
  return el(
    "table",
    { class: "timeline", role: "table" },
    el("caption", { class: "unseen" }, "What ran when, across engines"),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ["What", "Status"].map(head), el("th", { role: "columnheader", scope: "col", class: "c-bar" }, axis(span)), head("Took"))),
    el("tbody", { role: "rowgroup" }, rows),
  );
}

function head(text) {
  return el("th", { role: "columnheader", scope: "col" }, text);
}

function innerRows(inner, key, span, opened, again) {
  const all = opened.has(`all ${key}`) ? inner : inner.slice(0, FEW_STEPS);
  const rows = all.map((bar, n) => rowOf(bar, `${key} ${bar.kind} ${n}`, span, [], null));
  if (all.length < inner.length) {
    const more = el("button", { type: "button", class: "quiet", onclick: () => again(() => opened.add(`all ${key}`)) }, `Show all ${inner.length.toLocaleString("en")}`);
    rows.push(el("tr", { role: "row", key: `more ${key}` }, el("td", { role: "cell", class: "c-what depth-2", colspan: 4 }, more)));
  }
  return rows;
}

function toggle(key, isOpen, inner, opened, again) {
  const steps = inner.filter((bar) => bar.kind === "step").length;
  const attempts = inner.length - steps;
  const text = [attempts ? count(attempts, "attempt") : null, steps ? count(steps, "step") : null].filter(Boolean).join(", ");
  const flip = () => again(() => {
    opened[isOpen ? "delete" : "add"](key);
    opened[isOpen ? "add" : "delete"](`-${key}`);
  });
  return el("button", { type: "button", class: "fold", "aria-expanded": isOpen ? "true" : "false", onclick: flip }, text);
}

function rowOf(bar, key, span, attempts, button) {
  const label = bar.kind === "instance" ? [engine(bar.engine), " ", el("span", { class: "what" }, bar.label.slice(bar.engine.length + 1))] : el("span", { class: "what" }, bar.label);
  return el(
    "tr",
    { role: "row", key, class: `of-${bar.kind}` },
    el("td", { role: "cell", class: `c-what depth-${Math.min(bar.depth, 4)}`, title: bar.label }, label, bar.note ? el("span", { class: "faint note-of" }, ` ${bar.note}`) : null, button),
    el("td", { role: "cell", class: "c-status" }, status(bar.status)),
    el("td", { role: "cell", class: "c-bar" }, drawn(bar, span, attempts)),
    el("td", { role: "cell", class: "c-took" }, took(bar)),
  );
}

function took(bar) {
  const begin = bar.started_at ?? bar.queued_at;
  if (!begin) return el("span", { class: "faint" }, "–");
  const isRunning = bar.is_open && !hasEnded(bar.status);
  return el("span", isRunning ? { "data-form": "lasting", "data-since": begin } : null, duration(between(begin, isRunning ? null : bar.until)));
}

// --- the axis --------------------------------------------------------------------------------------------------------

function spanOf(bars) {
  let from = Infinity;
  let to = -Infinity;
  for (const bar of bars) {
    for (const text of [waitedFrom(bar), bar.started_at, bar.is_open ? null : bar.until]) {
      if (!text) continue;
      const at = Date.parse(text);
      from = Math.min(from, at);
      to = Math.max(to, at);
    }
  }
  if (bars.some((bar) => bar.is_open)) to = Math.max(to, now());
  if (from === Infinity) from = to = now();
  return { from, to: Math.max(to, from + 1000) };
}

/** When it began to wait; null where it had begun by then: a Run may be made after what belongs to it. */
function waitedFrom({ queued_at: queued, started_at: started }) {
  return queued && (!started || queued < started) ? queued : null;
}

function place(at, { from, to }) {
  return Math.min(100, Math.max(0, (100 * (at - from)) / (to - from)));
}

function axis(span) {
  const seconds = (span.to - span.from) / 1000;
  const step = TICKS.find((one) => seconds / one <= 4) ?? TICKS.at(-1);
  const marks = [];
  for (let s = 0; s <= seconds; s += step) marks.push(el("span", { class: "tick", style: { left: `${place(span.from + s * 1000, span)}%` } }, s === 0 ? clock(span.from) : `+${duration(s)}`));
  return el("span", { class: "axis", title: `${absolute(span.from)} to ${absolute(span.to)}` }, marks);
}

/** From when it waited to when it ran to its end, each attempt for itself; what it shows stands in its title, too. */
function drawn(bar, span, attempts) {
  const queued = waitedFrom(bar) ? Date.parse(waitedFrom(bar)) : null;
  const started = bar.started_at ? Date.parse(bar.started_at) : null;
  const until = bar.is_open ? now() : bar.until ? Date.parse(bar.until) : null;
  const parts = attempts.slice(0, -1).map((one) => ran(one, span));
  if (attempts.length) parts.push(ran({ ...bar, until: attempts.at(-1).until ?? bar.until }, span));
  else if (queued !== null && until !== null && (started === null || started > queued)) parts.push(piece("waited", queued, started ?? until, span));
  if (!attempts.length) parts.push(ran(bar, span));
  const words = [
    queued !== null && started !== null && started - queued > 1000 ? `waited ${duration((started - queued) / 1000)}` : null,
    started !== null ? `began ${clock(started)}` : "did not begin",
    bar.is_open ? "goes on" : until !== null && started !== null ? `ended ${clock(until)}` : null,
  ].filter(Boolean).join(", ");
  return el("span", { class: "track", title: words }, parts, el("span", { class: "unseen" }, words));
}

function ran(bar, span) {
  const until = bar.is_open ? now() : bar.until ? Date.parse(bar.until) : null;
  if (!bar.started_at || until === null) return null;
  return piece(`ran is-${bar.status.toLowerCase()}${bar.is_open ? " is-open" : ""}`, Date.parse(bar.started_at), until, span);
}

function piece(kind, begin, end, span) {
  const left = place(begin, span);
  return el("span", { class: `piece ${kind}`, style: { left: `${left}%`, width: `${Math.max(0, place(end, span) - left)}%` } });
}

