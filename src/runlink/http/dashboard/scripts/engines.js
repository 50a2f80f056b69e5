// The view of the engines: what is followed, and how well.

import { get } from "./api.js";
import { el, show } from "./dom.js";
import { count, duration } from "./format.js";
import { ago, deepLink, engine, lasted, line, loading, nothing } from "./parts.js";
import { keepFresh } from "./refresh.js";

const EVERY_MS = 30_000; // what is left of a budget rises by itself
const LEAST_MS = 2000; // each turn of each feed changes something
const MANY = 12; // engines, from which on they can be searched
const WORDS = {
  new: "not read yet",
  ok: "connected",
  lost: "cannot be reached",
  missing: "deliveries go missing",
  denied: "refuses the credentials",
  stopped: "stopped by its configuration",
  faulty: "fault of its plugin",
};

export function engines(main, { titled }) {
  titled("Engines");
  const body = el("div", null, loading());
  const search = el("input", { id: "search", type: "search", placeholder: "Name, type or state", autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/", oninput: () => draw() });
  const tools = el("div", { class: "tools", hidden: true }, el("div", { class: "field" }, el("label", { for: "search" }, "Search"), search));
  main.append(el("h1", null, "Engines"), tools, body);
  let plugins = [];
  let every = [];

  function draw() {
    tools.hidden = every.length < MANY && !search.value;
    const wanted = search.value.trim().toLowerCase();
    const found = every.filter((one) => [one.name, one.type, WORDS[health(one)]].some((text) => text.toLowerCase().includes(wanted)));
    show(body, every.length ? cards(every, found, plugins) : none());
  }

  const fresh = keepFresh(
    async (signal) => {
      const [found, brought] = await Promise.all([everyEngine(signal), get("/plugins", {}, { signal })]);
      plugins = brought.items;
      every = found;
      draw();
    },
    { concerns: (event) => event.type === "engines.changed" || event.type.startsWith("instance."), everyMs: EVERY_MS, leastMs: LEAST_MS },
  );
  fresh.now();
  return fresh;
}

async function everyEngine(signal) {
  const found = [];
  let cursor = null;
  do {
    const page = await get("/engines", { limit: 500, cursor }, { signal });
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null && found.length < 2000);
  const order = (one) => (health(one) === "ok" ? 1 : 0);
  return found.sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
}

/** The worst state of an engine's feeds speaks for it. */
export function health(one) {
  const reads = one.feeds.filter((feed) => feed.feed !== "receive" || feed.state !== "new"); // pushes come when they come
  const states = reads.map((feed) => feed.state);
  return ["faulty", "stopped", "denied", "lost", "missing", "new"].find((state) => states.includes(state)) ?? (states.length ? "ok" : "new");
}

/** A state in words, with a sign of its own. */
export function lamp(state) {
  const shape = state === "ok" ? "ok" : state === "new" ? "new" : "bad";
  return el("span", { class: `state is-${shape}`, "data-state": state }, el("span", { class: "lamp", "aria-hidden": "true" }), WORDS[state] ?? state);
}

function none() {
  return nothing("No engine is followed yet.", "Add ", el("code", null, "[engines.NAME]"), " to the configuration and send SIGHUP.");
}

function cards(every, found, plugins) {
  const bad = every.filter((one) => health(one) !== "ok").length;
  const summary = bad ? `${count(every.length, "engine")}, ${bad} not well` : `${count(every.length, "engine")}, all well`;
  return [
    el("p", { class: "summary", role: "status" }, found.length < every.length ? `${summary}; ${found.length} shown` : summary),
    el("ul", { class: "cards", role: "list" }, found.map((one) => el("li", { key: one.id, class: `card is-${health(one)}` }, card(one, plugins)))),
  ];
}

function card(one, plugins) {
  const state = health(one);
  const product = [one.product, one.product_version].filter(Boolean).join(" ");
  return [
    el("div", { class: "card-head" }, el("h2", null, engine(one.name)), lamp(state)),
    el("p", { class: "faint" }, el("span", null, product || one.type), one.url ? [" · ", deepLink(one.url, one.url.replace(/^https?:\/\//, "").replace(/\/$/, ""))] : null),
    one.feeds.filter((feed) => feed.last_error && isFailing(feed)).map((feed) => failure(feed)),
    el("dl", { class: "facts" }, facts(one, plugins)),
  ];
}

/** Whether a feed's last error is not over. */
function isFailing(feed) {
  return feed.failures > 0 || !["ok", "new", "missing"].includes(feed.state);
}

/** The latest error of an engine, also when it is over: what it was, and when. */
function lastError(one) {
  const [latest] = one.feeds.filter((feed) => feed.last_error).sort((a, b) => ((a.last_error_at ?? "") < (b.last_error_at ?? "") ? 1 : -1));
  if (!latest) return el("span", { class: "faint" }, "none seen");
  const when = latest.last_error_at ? ago(latest.last_error_at) : null;
  return isFailing(latest) ? [when, " · goes on"] : [when, el("span", { class: "faint" }, " · over now: "), line(latest.last_error)];
}

function failure(feed) {
  return el(
    "div",
    { class: "failure", key: feed.feed },
    el("p", null, feed.last_error),
    el("p", { class: "faint" }, `${count(feed.failures, "failure")} in a row`, feed.since ? [", since ", ago(feed.since)] : null),
  );
}

/** What is looked for first comes first: since when, how far behind, the last error, what may still be asked. */
function facts(one, plugins) {
  const asked = one.feeds.filter((feed) => feed.feed !== "receive");
  const pushed = one.feeds.filter((feed) => feed.feed === "receive");
  const rows = asked.flatMap((feed) => connection(feed, ofMany(asked, feed)));
  rows.push(["Last error", lastError(one)]);
  if (asked.length) rows.push(["Requests left", one.budget ? budget(one.budget) : el("span", { class: "faint" }, "not known yet")]);
  rows.push(["Open instances", one.open.toLocaleString("en")]);
  for (const feed of asked) rows.push(...reading(feed, ofMany(asked, feed)));
  for (const feed of pushed) {
    rows.push(["By push", `${feed.told.toLocaleString("en")} told, ${feed.missed.toLocaleString("en")} missed`]);
    rows.push(["Last pushed", feed.last_news_at ? ago(feed.last_news_at) : "nothing yet"]);
  }
  rows.push(["Feeds", one.feeds.map((feed) => feed.feed).join(", ") || "none runs"]);
  rows.push(["Plugin", pluginOf(one, plugins)]);
  return rows.map(([name, value]) => el("div", { key: name }, el("dt", null, name), el("dd", null, value)));
}

function ofMany(feeds, feed) {
  return feeds.length > 1 ? ` (${feed.feed})` : "";
}

function connection(feed, of) {
  return [
    [`Connected since${of}`, feed.state === "ok" ? ago(feed.since) : el("span", { class: "faint" }, feed.state === "new" ? "not read yet" : "not connected")],
    [`Lag${of}`, feed.last_success_at ? lasted(feed.last_success_at, null) : el("span", { class: "faint" }, "never read")],
  ];
}

function reading(feed, of) {
  const rows = [[`Last news${of}`, ago(feed.last_news_at)]];
  if (feed.last_duration_s !== null) rows.push([`Reading took${of}`, duration(feed.last_duration_s)]);
  if (feed.skew_s !== null && Math.abs(feed.skew_s) > 1) rows.push([`Its clock${of}`, `${feed.skew_s > 0 ? "+" : "−"}${duration(Math.abs(feed.skew_s))}`]);
  rows.push([`Requests${of}`, `${feed.requests.toLocaleString("en")} since the start`]);
  return rows;
}

function budget({ left, per_minute: perMinute }) {
  const most = Math.max(1, Math.min(20, Math.floor(perMinute / 10)));
  const text = `${left} now · ${Math.round(perMinute)}/min`;
  return el("span", { class: "budget" }, el("meter", { min: 0, max: most, value: Math.min(left, most), "aria-label": "Requests left at once" }), text);
}

function pluginOf(one, plugins) {
  const found = plugins.find((plugin) => (plugin.engine_types ?? []).includes(one.type));
  if (!found) return `none for ${one.type}`;
  const grade = found.grade ? `, grade ${found.grade}` : "";
  return `${found.distribution ?? found.name} ${found.version ?? ""}${grade}${found.experimental ? ", experimental" : ""}`.trim();
}

