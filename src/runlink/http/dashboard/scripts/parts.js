// What several views are made of: statuses, engines, times, links, tables. Nothing here knows the API.

import { el, svg } from "./dom.js";
import { absolute, between, duration, relative, safeUrl } from "./format.js";

// a form for each status, so that colour is never the only sign; drawn on 16 by 16
const FORMS = {
  PENDING: [["circle", { cx: 8, cy: 8, r: 5.5, class: "line", "stroke-dasharray": "2.6 2.2" }]],
  PROCESSING: [["circle", { cx: 8, cy: 8, r: 6, class: "line" }], ["path", { d: "M8 4.5a3.5 3.5 0 0 1 0 7z", class: "full" }]],
  RETRYING: [["path", { d: "M13 8a5 5 0 1 1-1.6-3.7", class: "line" }], ["path", { d: "M13.6 1.6v4h-4z", class: "full" }]],
  COMPLETED: [["circle", { cx: 8, cy: 8, r: 7, class: "full" }], ["path", { d: "M4.8 8.3l2.2 2.2 4.2-4.6", class: "cut" }]],
  FAILED: [["path", { d: "M8 .8l7.2 7.2L8 15.2.8 8z", class: "full" }], ["path", { d: "M5.7 5.7l4.6 4.6m0-4.6l-4.6 4.6", class: "cut" }]],
  CANCELLED: [["circle", { cx: 8, cy: 8, r: 6, class: "line" }], ["path", { d: "M4 12L12 4", class: "line" }]],
  VANISHED: [["path", { d: "M5.5 6a2.5 2.5 0 1 1 3.4 2.3c-.6.3-.9.7-.9 1.5m0 2.2v.6", class: "line" }]],
};
export const STATUSES = ["PENDING", "PROCESSING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"];

/** Whether a status is an end. */
export function hasEnded(name) {
  return name === "COMPLETED" || name === "FAILED" || name === "CANCELLED";
}

/** The drawn sign of a status. */
export function sign(name) {
  const forms = FORMS[name] ?? FORMS.VANISHED;
  const drawn = forms.map(([tag, props]) => svg(tag, props));
  return svg("svg", { class: `sign is-${name.toLowerCase()}`, viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, drawn);
}

/** A status: its sign and its word, and the engine's own word where that says more. */
export function status(name, native = null) {
  const word = name.charAt(0) + name.slice(1).toLowerCase();
  const more = native && native.toLowerCase() !== name.toLowerCase() ? el("span", { class: "native" }, native) : null;
  return el("span", { class: `status is-${name.toLowerCase()}`, "data-status": name }, sign(name), el("span", { class: "word" }, word), more);
}

/** One of twelve colours for a name, always the same one. */
export function hue(name) {
  let hash = 7;
  for (const c of name) hash = Math.imul(hash ^ c.codePointAt(0), 31);
  return (hash >>> 0) % 12;
}

/** An engine's mark: a small square in its colour, and its name. */
export function engine(name, ...more) {
  return el("span", { class: "engine" }, el("span", { class: `mark hue-${hue(name)}`, "aria-hidden": "true" }), name, more);
}

/** The engines a Run passed, in their order. */
export function trail(passed) {
  if (!passed.length) return el("span", { class: "faint" }, "none yet");
  return el(
    "ol",
    { class: "trail", role: "list" },
    passed.map((one) =>
      el(
        "li",
        { key: one.engine, title: `${one.engine} (${one.type}): ${one.instances} × ${one.status.toLowerCase()}` },
        engine(one.engine, one.instances > 1 ? el("span", { class: "times" }, `×${one.instances}`) : null),
        sign(one.status),
        el("span", { class: "unseen" }, one.status.toLowerCase()),
      ),
    ),
  );
}

/** A time, as how long ago it was; the ticker of `main` keeps it true. */
export function ago(text) {
  if (!text) return el("span", { class: "faint" }, "–");
  return el("time", { datetime: text, title: absolute(text), "data-form": "ago" }, relative(Date.parse(text)));
}

/** How long something took, or has taken until now. */
export function lasted(begin, end) {
  if (!begin) return el("span", { class: "faint" }, "–");
  const title = end ? `${absolute(begin)} to ${absolute(end)}` : `since ${absolute(begin)}`;
  const props = end ? { title } : { title, "data-form": "lasting", "data-since": begin };
  return el("span", props, duration(between(begin, end)));
}

/** A link into an engine; plain text where the address is none that a browser may follow. */
export function deepLink(address, text) {
  const url = safeUrl(address);
  if (url === null) return el("span", null, text);
  return el("a", { href: url, rel: "noopener noreferrer", target: "_blank", class: "deep" }, text, el("span", { class: "unseen" }, " (opens in the engine)"));
}

/** A text of any length in one line; the whole of it in its title. */
export function line(text, name = "line") {
  return text ? el("span", { class: name, title: text }, text.split("\n").find((part) => part.trim()) ?? "") : null;
}

/**
 * A table that stays one to a screen reader when a narrow page shows its rows as blocks. `columns`: [heading, class].
 * `rows`: [key, cells, class]; a cell is a node or {props, content}.
 */
export function table(name, columns, rows, more = {}) {
  return el(
    "table",
    { role: "table", ...more, class: `wide ${more.class ?? ""}` },
    el("caption", { class: "unseen" }, name),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(([text, kind]) => el("th", { role: "columnheader", scope: "col", class: kind }, text)))),
    el(
      "tbody",
      { role: "rowgroup" },
      rows.map(([key, cells, kind]) =>
        el("tr", { role: "row", key, class: kind }, cells.map((cell, n) => el("td", { role: "cell", class: columns[n][1], "data-label": columns[n][0] }, cell))),
      ),
    ),
  );
}

/** What stands where there is nothing. */
export function nothing(title, ...more) {
  return el("div", { class: "nothing" }, el("p", { class: "nothing-title" }, title), more.length ? el("p", null, more) : null);
}

/** What stands where something is still being read. */
export function loading() {
  return el("p", { class: "faint loading" }, "Reading …");
}
