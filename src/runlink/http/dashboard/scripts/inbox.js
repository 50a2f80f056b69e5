// The inbox: instances without a Run and Runs without an instance, each with what it may belong to, linked in one click.
//
// What was linked here stays in its place, with a way back, until the view is left: the focus stays where the hand is.

import { get, mayWrite, send } from "./api.js";
import { ask } from "./ask.js";
import { el, show } from "./dom.js";
import { ago, deepLink, engine, loading, nothing, status } from "./parts.js";
import { keepFresh } from "./refresh.js";
import { attempt, note } from "./trouble.js";

const EVERY_MS = 10_000; // a Run that is made and waits is no event
const LEAST_MS = 5000; // suggestions cost: each row is compared with every candidate
const SIDES = [
  { name: "instances", title: "Instances without a Run", one: "instance", empty: "Every instance that was seen belongs to a Run." },
  { name: "runs", title: "Runs without an instance", one: "Run", empty: "Every Run has an instance." },
];

export function inbox(main, { titled }) {
  titled("Inbox");
  main.append(el("h1", null, "Inbox"));
  const stops = SIDES.map((side) => openSide(main, side));
  return { stop: () => stops.forEach((stop) => stop()) };
}

function openSide(main, side) {
  const body = el("div", null, loading());
  main.append(el("section", { "aria-labelledby": `h-${side.name}` }, el("h2", { id: `h-${side.name}` }, side.title), body));
  const linked = new Map(); // id of the row -> {link, row, to}
  let pages = 1;
  let rows = [];
  let more = false;

  const fresh = keepFresh(
    async (signal) => {
      const found = [];
      let cursor = null;
      for (let n = 0; n < pages; n++) {
        const page = await get(`/inbox/${side.name}`, { cursor, limit: 15 }, { signal });
        found.push(...page.items);
        cursor = page.next_cursor;
        if (cursor === null) break;
      }
      rows = found;
      more = cursor !== null;
      draw();
    },
    { concerns: (event) => event.type.startsWith("instance.") || event.type.startsWith("run."), everyMs: EVERY_MS, leastMs: LEAST_MS },
  );

  function draw() {
    const shown = merged(rows, linked);
    const tools = { linkTo, undo, choose, linked };
    show(
      body,
      shown.length ? el("ul", { class: "waiting-list", role: "list" }, shown.map((row) => entry(side, row, tools))) : nothing("Nothing waits.", side.empty),
      more ? el("button", { type: "button", onclick: () => (pages++, fresh.now()) }, "Show more") : null,
    );
  }

  async function linkTo(row, pair, to) {
    await attempt(async () => {
      const link = await send("POST", "/links", pair);
      linked.set(row.id, { link, row, to });
      note(`Linked to ${to}.`);
    });
    draw();
    focusOn(row);
  }

  async function undo(row) {
    await attempt(async () => {
      await send("DELETE", `/links/${linked.get(row.id).link.id}?keep_apart=false`);
      linked.delete(row.id);
      note("The link was taken off again.");
    });
    if (!rows.some((one) => one.id === row.id)) rows = merged([row, ...rows], linked);
    draw();
    focusOn(row);
  }

  /** The button that was pressed has gone: whoever goes by keyboard finds the next one in its place. */
  function focusOn(row) {
    body.querySelector(`[data-key="${row.id}"] .waits-where button`)?.focus();
  }

  async function choose(row) {
    const isRun = side.name === "runs";
    const chosen = await ask({
      title: isRun ? "Link an instance to this Run" : "Link this instance to a Run",
      search: isRun ? findInstances : findRuns,
      button: "Link it",
    });
    if (chosen === null) return;
    const pair = isRun ? { run_id: row.id, instance_id: chosen.found } : { run_id: chosen.found, instance_id: row.id };
    await linkTo(row, pair, isRun ? "that instance" : "that Run");
  }

  fresh.now();
  return fresh.stop;
}

/** The rows that wait, and in their order those that were linked here. */
function merged(rows, linked) {
  const known = new Map([...linked.values()].map(({ row }) => [row.id, row]));
  for (const row of rows) known.set(row.id, row);
  return [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
}

function entry(side, row, tools) {
  const done = tools.linked.get(row.id);
  return el(
    "li",
    { key: row.id, class: done ? "waits done" : "waits" },
    el("div", { class: "waits-what" }, side.name === "instances" ? instance(row) : run(row)),
    el("div", { class: "waits-where" }, done ? linkedNow(done, row, tools) : suggestions(side, row, tools)),
  );
}

function instance(row) {
  return [
    el("p", null, engine(row.engine), " ", el("span", { class: "what" }, row.workflow ?? ""), " ", deepLink(row.url, row.external_id)),
    el("p", { class: "faint" }, status(row.status, row.native_status), " ", ago(row.started_at ?? row.queued_at ?? row.observed_at), row.message ? [" · ", el("span", { class: "line" }, row.message)] : null),
  ];
}

function run(row) {
  return [
    el("p", null, el("a", { href: `/runs/${row.id}`, class: "key" }, row.correlation_id ?? row.id), " ", el("span", { class: "faint" }, row.automation)),
    el("p", { class: "faint" }, status(row.status), " made ", ago(row.created_at)),
  ];
}

function linkedNow({ link, to }, row, { undo }) {
  return [
    el("p", null, "Linked to ", el("a", { href: `/runs/${link.run_id}` }, to), "."),
    el("p", null, el("button", { type: "button", key: "act", onclick: () => undo(row) }, "Undo")),
  ];
}

function suggestions(side, row, { linkTo, choose }) {
  const found = row.suggestions.map((one, n) => {
    const [to, pair] = side.name === "instances"
      ? [one.correlation_id ?? one.run_id, { run_id: one.run_id, instance_id: row.id }]
      : [`${one.engine} ${one.external_id}`, { run_id: row.id, instance_id: one.instance_id }];
    const name = side.name === "instances" ? el("a", { href: `/runs/${one.run_id}` }, to) : [engine(one.engine), " ", one.external_id];
    return el(
      "li",
      { key: to },
      el("p", { class: "guess" },
        mayWrite() ? el("button", { type: "button", key: "act", class: n === 0 ? "main" : null, "aria-label": `Link ${row.external_id ?? row.correlation_id ?? row.id} to ${to}`, onclick: () => linkTo(row, pair, to) }, "Link") : null,
        el("span", { class: "guess-to" }, name, " ", el("span", { class: "faint" }, one.automation ?? one.workflow ?? "")),
        el("span", { class: "score", title: `${one.score} of 100` }, `${one.score} %`)),
      el("p", { class: "faint reasons" }, one.reasons.join("; ")),
    );
  });
  return [
    found.length ? el("ol", { class: "guesses", role: "list" }, found) : el("p", { class: "faint" }, "Nothing is near enough to be suggested."),
    mayWrite() ? el("button", { type: "button", class: "quiet", "aria-label": `Choose by hand for ${row.external_id ?? row.correlation_id ?? row.id}`, onclick: () => choose(row) }, "Choose by hand …") : null,
  ];
}

async function findRuns(text) {
  const { items } = await get("/runs", { search: text || null, limit: 20 });
  return items.map((one) => ({ value: one.id, content: [el("span", { class: "what" }, one.correlation_id ?? one.id), el("span", { class: "faint" }, one.automation), status(one.status), ago(one.created_at)] }));
}

async function findInstances(text) {
  const { items } = await get("/instances", { search: text || null, linked: text ? null : "false", limit: 20 });
  return items.map((one) => ({ value: one.id, content: [engine(one.engine), el("span", { class: "what" }, `${one.workflow ?? ""} ${one.external_id}`), status(one.status)] }));
}

