// What engines pushed and what became of it, and what they told that could not be taken in.

import { get, mayWrite, send } from "./api.js";
import { el, show } from "./dom.js";
import { ago, engine, loading, nothing, table } from "./parts.js";
import { keepFresh } from "./refresh.js";
import { attempt, note } from "./trouble.js";

const EVERY_MS = 30_000; // what another process does, such as `runlink deliveries replay`, gives no notice
const STATES = { waiting: "waits", done: "taken in", dead: "given up" };
const PUSHED = [["State", "c-status"], ["Engine", "c-engine"], ["Delivery", "c-run"], ["Received", "c-age"], ["Tries", "c-count"], ["Reason", "c-message"]];
const SET_ASIDE = [["Engine", "c-engine"], ["Instance", "c-run"], ["Why", "c-message"], ["Seen", "c-age"], ["Times", "c-count"]];

export function deliveries(main, { query, go, titled }) {
  titled("Deliveries");
  const state = query.get("state");
  const contents = new Map(); // of the deliveries that were looked into, by id
  main.append(el("h1", null, "Deliveries"));
  const pushed = list(main, {
    id: "pushed",
    title: "What engines pushed",
    tools: chooser(state, go),
    read: (cursor, signal) => get("/deliveries", { state, cursor, limit: 50 }, { signal }),
    draw: (rows, again) => pushedRows(rows, contents, again),
  });
  const aside = list(main, {
    id: "aside",
    title: "Set aside",
    read: (cursor, signal) => get("/quarantine", { cursor, limit: 50 }, { signal }),
    draw: setAside,
  });
  return {
    stop() {
      pushed.stop();
      aside.stop();
    },
  };
}

/** A section whose rows are read page after page, as many pages as were asked for, and kept fresh. */
function list(main, { id, title, tools = null, read, draw }) {
  const body = el("div", null, loading());
  main.append(el("section", { "aria-labelledby": `h-${id}` }, el("div", { class: "section-head" }, el("h2", { id: `h-${id}` }, title), tools), body));
  let pages = 1;
  let rows = [];
  let more = false;
  const redraw = () => show(body, draw(rows, again), more ? el("button", { type: "button", onclick: () => (pages++, fresh.now()) }, "Show more") : null);
  const again = (isNews) => (isNews ? fresh.now() : redraw());
  const fresh = keepFresh(
    async (signal) => {
      const found = [];
      let cursor = null;
      for (let n = 0; n < pages; n++) {
        const page = await read(cursor, signal);
        found.push(...page.items);
        cursor = page.next_cursor;
        if (cursor === null) break;
      }
      rows = found;
      more = cursor !== null;
      redraw();
    },
    { concerns: (event) => event.type === "deliveries.changed", everyMs: EVERY_MS },
  );
  fresh.now();
  return fresh;
}

function chooser(state, go) {
  const select = el(
    "select",
    { id: "state", onchange: () => go(select.value ? `/deliveries?state=${select.value}` : "/deliveries") },
    el("option", { value: "" }, "Any state"),
    Object.entries(STATES).map(([name, word]) => el("option", { value: name, selected: name === state }, word)),
  );
  return el("div", { class: "field inline" }, el("label", { for: "state" }, "State"), select);
}

// --- what was pushed -------------------------------------------------------------------------------------------------

function pushedRows(rows, contents, again) {
  if (!rows.length) return nothing("No delivery is like that.", "Engines push to ", el("code", null, "/hooks/ENGINE"), " where their configuration has a ", el("code", null, "webhook"), " table.");
  const columns = mayWrite() ? [...PUSHED, ["Again", "c-do"]] : PUSHED;
  return table("Deliveries, newest first", columns, rows.map((row) => [row.id, cells(row, contents, again), `is-${row.state}-row`]), { class: "pushed" });
}

function cells(row, contents, again) {
  const shape = { waiting: "new", done: "ok", dead: "bad" }[row.state];
  const found = [
    el("span", { class: `state is-${shape}` }, el("span", { class: "lamp", "aria-hidden": "true" }), STATES[row.state]),
    engine(row.engine),
    [el("code", null, row.external_id ?? row.id), row.signed ? null : el("span", { class: "faint" }, " body not signed"), content(row, contents, again)],
    ago(row.received_at),
    String(row.attempts),
    [row.reason, row.state === "waiting" && row.due_at && row.attempts ? [" · again ", ago(row.due_at)] : null],
  ];
  if (mayWrite()) found.push(el("button", { type: "button", class: "quiet", "aria-label": `Take in again ${row.external_id ?? row.id}`, onclick: () => replay(row, again) }, "Take in again"));
  return found;
}

function content(row, contents, again) {
  const opened = async (event) => {
    if (!event.currentTarget.open || contents.has(row.id)) return;
    contents.set(row.id, null);
    await attempt(async () => contents.set(row.id, await get(`/deliveries/${row.id}`)));
    again(false);
  };
  const known = contents.get(row.id);
  return el(
    "details",
    { ontoggle: opened },
    el("summary", null, `${row.bytes.toLocaleString("en")} bytes`),
    known ? el("pre", { tabindex: 0 }, `${known.headers.map((pair) => pair.join(": ")).join("\n")}\n\n${known.body}`) : null,
  );
}

async function replay(row, again) {
  await attempt(async () => {
    await send("POST", `/deliveries/${row.id}/replay`);
    note("It is taken in again within seconds.");
  });
  await again(true);
}

// --- what was set aside ----------------------------------------------------------------------------------------------

function setAside(rows) {
  if (!rows.length) return nothing("Nothing is set aside.", "What an engine tells and runlink cannot read is kept here with its reason; everything else goes on.");
  return table(
    "What could not be taken in, latest first",
    SET_ASIDE,
    rows.map((row) => [
      `${row.engine} ${row.fingerprint}`,
      [
        engine(row.engine),
        [row.external_id ?? el("span", { class: "faint" }, "of no known id"), el("span", { class: "faint" }, `, by ${row.feed}`)],
        [el("span", { class: "why-not" }, row.reason), row.raw ? el("details", null, el("summary", null, "As it was told"), el("pre", { tabindex: 0 }, row.raw)) : null],
        ago(row.last_seen_at),
        row.count.toLocaleString("en"),
      ],
    ]),
    { class: "aside" },
  );
}
