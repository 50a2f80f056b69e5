// The view of the Runs: a page of them, filters, search, and whether the engines behind them are well.

import { get } from "./api.js";
import { el, show, tell } from "./dom.js";
import { engine, ago, hasEnded, lasted, line, loading, nothing, status, STATUSES, table, trail } from "./parts.js";
import { health } from "./engines.js";
import { keepFresh } from "./refresh.js";

const PAGE = 50;
const EVERY_MS = 5000; // a Run that is made and waits is no event
const SEARCH_MS = 250;
const COLUMNS = [
  ["Status", "c-status"],
  ["Run", "c-run"],
  ["Automation", "c-automation"],
  ["Engines", "c-trail"],
  ["Age", "c-age"],
  ["Duration", "c-duration"],
  ["Message", "c-message"],
];

export function runs(main, { query, titled }) {
  titled("Runs");
  const wanted = { status: query.get("status"), automation: query.get("automation"), search: query.get("search") };
  let cursors = (query.get("cursor") ?? "").split(".").filter(Boolean); // those of the pages passed, this one's last
  const strip = el("div", { class: "strip" });
  const body = el("div", null, loading());
  const seen = new Map();
  main.append(
    el("h1", null, "Runs"),
    strip,
    toolbar(wanted, (changed) => {
      Object.assign(wanted, changed);
      cursors = [];
      seen.clear();
      history["search" in changed ? "replaceState" : "pushState"](null, "", address(wanted, cursors));
      fresh.now();
    }),
    body,
  );
  const fresh = keepFresh(
    async (signal) => {
      const page = await get("/runs", { ...wanted, cursor: cursors.at(-1), limit: PAGE }, { signal });
      show(body, listed(page, seen), pager(page, wanted, cursors));
    },
    { concerns: (event) => event.runs.length > 0, everyMs: EVERY_MS },
  );
  fresh.now();
  const well = keepFresh(async (signal) => show(strip, marks((await get("/engines", { limit: 200 }, { signal })).items)), {
    concerns: (event) => event.type === "engines.changed",
    everyMs: 30_000,
    leastMs: 5000,
  });
  well.now();
  return {
    stop() {
      fresh.stop();
      well.stop();
    },
  };
}

function address(wanted, cursors) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) if (value) query.set(name, value);
  if (cursors.length) query.set("cursor", cursors.join("."));
  return query.size ? `/runs?${query}` : "/runs";
}

// --- filters ---------------------------------------------------------------------------------------------------------

function toolbar(wanted, change) {
  let timer = null;
  const search = el("input", {
    id: "search", type: "search", value: wanted.search ?? "", placeholder: "Key or reason", autocomplete: "off", spellcheck: "false",
    "aria-keyshortcuts": "/",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => change({ search: search.value.trim() || null }), SEARCH_MS);
    },
  });
  const automation = el("select", { id: "automation", onchange: () => change({ automation: automation.value || null }) }, option("", "All automations", wanted.automation));
  if (wanted.automation) automation.append(option(wanted.automation, wanted.automation, wanted.automation));
  get("/automations", { limit: 500 }).then(({ items }) => {
    const names = items.map((one) => one.name).filter((name) => name !== wanted.automation).sort((a, b) => a.localeCompare(b));
    automation.append(...names.map((name) => option(name, name, wanted.automation)));
  }, () => {});
  const states = el(
    "select",
    { id: "status", onchange: () => change({ status: states.value || null }) },
    option("", "Any status", wanted.status),
    STATUSES.map((name) => option(name, name.charAt(0) + name.slice(1).toLowerCase(), wanted.status)),
  );
  return el(
    "form",
    { class: "tools", role: "search", onsubmit: (event) => event.preventDefault() },
    field("Search", search), field("Status", states), field("Automation", automation),
  );
}

function field(name, input) {
  return el("div", { class: "field" }, el("label", { for: input.id }, name), input);
}

function option(value, text, chosen) {
  return el("option", { value, selected: value === (chosen ?? "") }, text);
}

// --- what is listed --------------------------------------------------------------------------------------------------

function marks(found) {
  const ill = found.filter((one) => health(one) !== "ok");
  if (!found.length) return el("p", { class: "faint" }, "No engine is followed yet.");
  if (!ill.length) return el("p", null, el("a", { href: "/engines", class: "state is-ok" }, el("span", { class: "lamp", "aria-hidden": "true" }), found.length === 1 ? "The engine is well" : `All ${found.length} engines are well`));
  return el("p", null, el("a", { href: "/engines", class: "state is-bad" }, el("span", { class: "lamp", "aria-hidden": "true" }), `${ill.length} of ${found.length} engines not well:`), " ", ill.slice(0, 8).map((one) => engine(one.name)));
}

function listed(page, seen) {
  if (!page.items.length) {
    return nothing("No Run is like that.", "Runs appear here as soon as an engine tells of one that a link rule leads to, or when ", el("code", null, "runlink runs create"), " makes one.");
  }
  const rows = page.items.map((run) => {
    const before = seen.get(run.id);
    const state = `${run.status} ${run.attempt}`;
    const moved = before !== undefined && before !== state;
    const isNew = seen.size > 0 && before === undefined;
    if (moved) tell(`${run.correlation_id ?? run.automation}: ${run.status.toLowerCase()}`);
    return [run.id, row(run), moved || isNew ? "changed" : null, state];
  });
  seen.clear();
  for (const [id, , , state] of rows) seen.set(id, state);
  return table("Runs, newest first", COLUMNS, rows, { class: "runs" });
}

function row(run) {
  const again = run.attempt > 1 ? el("span", { class: "times", title: `attempt ${run.attempt}` }, `attempt ${run.attempt}`) : null;
  const silent = run.silent_since && !hasEnded(run.status) ? el("span", { class: "warn" }, "silent since ", ago(run.silent_since)) : null;
  return [
    status(run.status),
    [el("a", { href: `/runs/${run.id}`, class: "key" }, run.correlation_id ?? run.id), again && [" ", again]],
    run.automation,
    trail(run.trail),
    ago(run.created_at),
    lasted(run.started_at, run.finished_at),
    silent ?? line(run.error_summary ?? run.cancellation_reason),
  ];
}

function pager(page, wanted, cursors) {
  const newer = cursors.length ? el("a", { href: address(wanted, cursors.slice(0, -1)), class: "button", rel: "prev" }, "← Newer") : null;
  const older = page.next_cursor ? el("a", { href: address(wanted, [...cursors.slice(-40), page.next_cursor]), class: "button", rel: "next" }, "Older →") : null;
  return newer || older ? el("nav", { class: "pager", "aria-label": "Pages" }, newer, older) : null;
}
