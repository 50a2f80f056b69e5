// The batches and items of a Run: how each fared, why, and its history. `run` comes here.
//
// Only what is opened is read, page by page, so that a Run with a hundred thousand items costs no more than one with ten.

import { get } from "./api.js";
import { el } from "./dom.js";
import { count } from "./format.js";
import { ago, hasEnded, lasted, loading, nothing, sign, status, STATUSES, table } from "./parts.js";
import { attempt } from "./trouble.js";

const PAGE = 50;
const COLUMNS = [["No.", "c-number"], ["Status", "c-status"], ["Attempts", "c-count"], ["Took", "c-duration"], ["Error", "c-error"], ["Details", "c-history"]];

/** What is known of the batches of one Run, kept while its page is open; `redraw` is called when there is more. */
export function itemsOf(runId, redraw) {
  const opened = new Map(); // id of the batch execution -> {wanted, rows, pages, more}
  const details = new Map(); // id of the item execution -> its changes, and what the item is
  let batches = [];
  let pages = 1;
  let more = false;

  async function read(signal) {
    [batches, more] = await readPages((cursor) => get("/batch-executions", { run_id: runId, cursor, limit: PAGE }, { signal }), pages);
    batches.reverse(); // as they began
    await Promise.all([...opened.keys()].map((id) => readItems(id, signal)));
  }

  async function readItems(id, signal) {
    const one = opened.get(id);
    const asked = one.wanted;
    const found = await readPages((cursor) => get(`/batch-executions/${id}/items`, { status: asked, cursor, limit: PAGE }, { signal }), one.pages);
    if (one.wanted !== asked) return; // another status was chosen meanwhile
    [one.rows, one.more] = found;
    const shown = one.rows.filter((row) => details.has(row.id));
    await Promise.all(shown.map((row) => readDetails(row, signal)));
  }

  async function readDetails(row, signal) {
    const [history, item] = await Promise.all([get(`/item-executions/${row.id}/history`, { limit: 500 }, { signal }), get(`/items/${row.item_id}`, {}, { signal })]);
    details.set(row.id, { changes: history.items, payload: item.payload });
  }

  const soon = (work) => attempt(work).then(redraw);
  const tools = {
    opened,
    details,
    toggle(id) {
      if (opened.delete(id)) return redraw();
      opened.set(id, { wanted: null, rows: null, pages: 1, more: false });
      redraw();
      return soon(() => readItems(id));
    },
    choose(id, wanted) {
      Object.assign(opened.get(id), { wanted: wanted || null, rows: null, pages: 1, more: false });
      redraw();
      return soon(() => readItems(id));
    },
    further(id) {
      opened.get(id).pages += 1;
      return soon(() => readItems(id));
    },
    look(event, row) {
      if (!event.currentTarget.open || details.has(row.id)) return null;
      details.set(row.id, null);
      return soon(() => readDetails(row));
    },
  };
  const furtherBatches = () => soon(async () => ((pages += 1), await read()));
  const bars = (counts) => batches.map((one) => bar(one, countsOf(counts).get(one.batch) ?? {}));
  return { read, bars, draw: (counts) => (batches.length ? drawn(batches, counts, tools, more ? furtherBatches : null) : null) };
}

/** A batch as a bar of the timeline, with how many of its items have ended. */
function bar(one, counts) {
  const ended = Object.entries(counts).reduce((sum, [name, n]) => sum + (hasEnded(name) ? n : 0), 0);
  return {
    kind: "batch", depth: 1, external_id: one.id, label: one.batch, status: one.status,
    note: one.items ? `${ended.toLocaleString("en")} of ${count(one.items, "item")}` : "no items",
    queued_at: one.created_at, started_at: one.started_at, until: one.finished_at, is_open: !hasEnded(one.status),
  };
}

function countsOf(rows) {
  const byBatch = new Map();
  for (const { batch, status: name, count: n } of rows) {
    if (!byBatch.has(batch)) byBatch.set(batch, {});
    byBatch.get(batch)[name] = n;
  }
  return byBatch;
}

/** Page after page, as many as were asked for: the rows, and whether there are more. */
async function readPages(read, pages) {
  const rows = [];
  let cursor = null;
  for (let n = 0; n < pages; n++) {
    const page = await read(cursor);
    rows.push(...page.items);
    cursor = page.next_cursor;
    if (cursor === null) break;
  }
  return [rows, cursor !== null];
}

function drawn(batches, counts, tools, further) {
  const byBatch = countsOf(counts);
  return [
    el("ul", { class: "batches", role: "list" }, batches.map((one) => el("li", { key: one.id, class: "batch" }, batch(one, byBatch.get(one.batch) ?? {}, tools)))),
    further ? el("p", null, el("button", { type: "button", onclick: further }, "Show more batches")) : null,
  ];
}

function batch(one, counts, tools) {
  const open = tools.opened.get(one.id);
  const parts = STATUSES.filter((name) => counts[name]);
  return [
    el(
      "div",
      { class: "batch-head" },
      el("h3", { id: `b-${one.id}` }, one.batch),
      status(one.status),
      el("span", { class: "faint" }, "took ", lasted(one.started_at, one.finished_at)),
      one.items
        ? el("button", { type: "button", class: "fold", "aria-expanded": open ? "true" : "false", "aria-describedby": `b-${one.id}`, onclick: () => tools.toggle(one.id) }, count(one.items, "item"))
        : el("span", { class: "faint" }, "no items"),
    ),
    parts.length ? el("span", { class: "share", "aria-hidden": "true" }, parts.map((name) => el("span", { class: `is-${name.toLowerCase()}`, style: { "flex-grow": counts[name] } }))) : null,
    parts.length ? el("span", { class: "counts" }, parts.map((name) => el("span", { class: `status is-${name.toLowerCase()}` }, sign(name), `${counts[name].toLocaleString("en")} ${name.toLowerCase()}`))) : null,
    open ? listed(one, open, tools) : null,
  ];
}

function listed(one, open, tools) {
  const choice = `s-${one.id}`;
  const select = el(
    "select",
    { id: choice, onchange: (event) => tools.choose(one.id, event.currentTarget.value) },
    el("option", { value: "", selected: open.wanted === null }, "Any status"),
    STATUSES.map((name) => el("option", { value: name, selected: name === open.wanted }, name.charAt(0) + name.slice(1).toLowerCase())),
  );
  return el(
    "div",
    { class: "batch-items", key: "items" },
    el("div", { class: "field inline" }, el("label", { for: choice }, "Status"), select),
    open.rows === null ? loading() : rows(one, open, tools),
    open.more ? el("p", null, el("button", { type: "button", "aria-describedby": `b-${one.id}`, onclick: () => tools.further(one.id) }, "Show more items")) : null,
  );
}

function rows(one, open, tools) {
  if (!open.rows.length) return nothing("No item is like that.");
  const cells = (row) => [
    String(row.sequence_number),
    status(row.status),
    row.max_attempts === null ? String(row.attempt_count) : `${row.attempt_count} of ${row.max_attempts}`,
    lasted(row.started_at, row.finished_at ?? (hasEnded(row.status) ? row.updated_at : null)),
    row.error_message ? el("span", { class: "why-not" }, row.error_message) : null,
    history(row, tools),
  ];
  return table(`Items of ${one.batch}, by their numbers`, COLUMNS, open.rows.map((row) => [row.id, cells(row)]), { class: "items" });
}

/** What the item is, what came of it, and each change of its status. */
function history(row, tools) {
  const known = tools.details.get(row.id);
  return el(
    "details",
    { ontoggle: (event) => tools.look(event, row) },
    el("summary", { "aria-label": `Details of item ${row.sequence_number}` }, "Details"),
    known ? el("ol", { class: "changes", role: "list" }, known.changes.map((one) => el("li", { key: one.id }, status(one.new_status), " ", ago(one.changed_at), one.created_by ? el("span", { class: "faint" }, ` by ${one.created_by}`) : null))) : null,
    known ? [json("Payload", known.payload), json("Result", row.result_payload)] : null,
  );
}

function json(name, value) {
  if (value === null) return null;
  return el("div", { class: "json" }, el("p", { class: "faint" }, name), el("pre", { tabindex: 0 }, JSON.stringify(value, null, 2)));
}
