// The page of one Run: what ran when across engines, why it is in its state, what belongs to it, and what may be done.

import { get, mayWrite, send } from "./api.js";
import { ask } from "./ask.js";
import { el, show, tell } from "./dom.js";
import { count, duration } from "./format.js";
import { ago, deepLink, engine, hasEnded, lasted, line, loading, nothing, sign, status, table } from "./parts.js";
import { itemsOf } from "./items.js";
import { keepFresh } from "./refresh.js";
import { timeline } from "./timeline.js";
import { attempt, note } from "./trouble.js";

const EVERY_MS = 5000; // steps and items that move on are no events
const MOVES = {
  start: { name: "Start", when: ["PENDING"], text: "The Run is set to processing by hand." },
  complete: { name: "Complete", when: ["PROCESSING"], text: "The Run ends as completed. What its instances do afterwards changes nothing." },
  fail: { name: "Fail", when: ["PROCESSING", "RETRYING"], text: "The Run ends as failed.", reason: true, bad: true },
  cancel: { name: "Cancel", when: ["PENDING", "PROCESSING", "RETRYING"], text: "The Run ends as cancelled. Nothing is stopped in the engines.", reason: true, bad: true },
  reopen: { name: "Reopen", when: ["COMPLETED", "FAILED", "CANCELLED"], text: "The Run is given back to its instances, as a new attempt." },
};

export function run(main, { id, titled }) {
  titled("Run");
  const body = el("div", { class: "run" }, loading());
  main.append(body);
  const opened = new Set();
  const items = itemsOf(id, () => known && draw());
  let known = null;
  let before = null;

  function draw() {
    show(body, page(known, { opened, items, draw: (change) => (change(), draw()), act, unlink, link }));
  }

  const fresh = keepFresh(
    async (signal) => {
      const [explained, row] = await Promise.all([get(`/runs/${id}/explain`, {}, { signal }), get(`/runs/${id}`, {}, { signal }), items.read(signal)]);
      known = { ...explained, version: row.version };
      const name = known.correlation_id ?? known.id;
      titled(`${name} ${known.status.toLowerCase()}`);
      if (before !== null && before !== `${known.status} ${known.attempt}`) tell(`Run ${name}: ${known.status.toLowerCase()}`);
      before = `${known.status} ${known.attempt}`;
      draw();
    },
    { concerns: (event) => event.runs.includes(id.toLowerCase()), everyMs: EVERY_MS, isOpen: () => known !== null && !hasEnded(known.status) },
  );

  async function act(move) {
    const { name, text, reason, bad } = MOVES[move];
    const given = await ask({ title: `${name} this Run?`, text, reason, bad, button: `${name} it` });
    if (given === null) return;
    const version = known.version;
    await attempt(async () => {
      await send("POST", `/runs/${id}/${move}`, reason ? { reason: given.reason || null } : undefined, version);
      note(`${name}: done.`);
    });
    await fresh.now();
  }

  async function unlink(instance) {
    const text = `${instance.engine} ${instance.external_id} no longer counts for this Run, and no rule puts it back.`;
    if ((await ask({ title: "Take this link off?", text, button: "Take it off", bad: true })) === null) return;
    await attempt(async () => {
      const { items } = await get("/links", { run_id: id, instance_id: instance.id, limit: 1 });
      if (items.length) await send("DELETE", `/links/${items[0].id}`);
      note("The link was taken off.");
    });
    await fresh.now();
  }

  async function link() {
    const chosen = await ask({ title: "Link an instance to this Run", search: findInstances, button: "Link it" });
    if (chosen === null) return;
    await attempt(async () => {
      await send("POST", "/links", { run_id: id, instance_id: chosen.found });
      note("Linked.");
    });
    await fresh.now();
  }

  fresh.now().then(() => {
    if (known === null) show(body, el("h1", null, "Run"), nothing("This Run cannot be shown.", el("a", { href: "/runs" }, "All Runs")));
  });
  return fresh;
}

async function findInstances(text) {
  const { items } = await get("/instances", { search: text || null, linked: text ? null : "false", limit: 20 });
  return items.map((one) => ({
    value: one.id,
    content: [engine(one.engine), el("span", { class: "what" }, `${one.workflow ?? ""} ${one.external_id}`), status(one.status), ago(one.started_at ?? one.queued_at ?? one.created_at)],
  }));
}

function page(known, tools) {
  return [
    header(known, tools),
    known.doubts.length ? el("section", { class: "doubts", "aria-labelledby": "h-doubts" }, el("h2", { id: "h-doubts" }, "What is not sure"), el("ul", null, known.doubts.map((text) => el("li", null, text)))) : null,
    section("timeline", "Timeline", el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Timeline" }, timeline([...known.timeline, ...tools.items.bars(known.items)], tools.opened, tools.draw))),
    itemsIn(known, tools),
    section("instances", "Instances", instances(known, tools), mayWrite() ? el("button", { type: "button", onclick: tools.link }, "Link an instance …") : null),
    section("why", "Why it is in this state", why(known)),
    section("history", "History", history(known)),
  ];
}

function itemsIn(known, { items }) {
  const drawn = items.draw(known.items);
  return drawn ? section("items", "Batches and items", drawn) : null;
}

function section(id, title, content, ...more) {
  return el("section", { key: id, "aria-labelledby": `h-${id}` }, el("div", { class: "section-head" }, el("h2", { id: `h-${id}` }, title), more), content);
}

function header(known, { act }) {
  const summary = known.status === "FAILED" ? known.error_summary : known.status === "CANCELLED" ? known.cancellation_reason : null;
  const buttons = mayWrite()
    ? Object.entries(MOVES)
        .filter(([, move]) => move.when.includes(known.status))
        .map(([move, { name, bad }]) => el("button", { type: "button", key: move, class: bad ? "bad" : null, onclick: () => act(move) }, name))
    : [];
  return el(
    "div",
    { class: "run-head" },
    el("p", { class: "crumbs" }, el("a", { href: "/runs" }, "Runs"), " / ", el("a", { href: `/runs?automation=${encodeURIComponent(known.automation ?? "")}` }, known.automation ?? "no automation")),
    el("div", { class: "title" }, el("h1", null, known.correlation_id ?? known.id), status(known.status), buttons.length ? el("div", { class: "buttons", role: "group", "aria-label": "What may be done" }, buttons) : null),
    summary ? el("p", { class: "reason" }, summary) : null,
    known.waiting ? el("p", { class: "waiting" }, "It does not end yet: ", known.waiting) : null,
    known.silent_since && !hasEnded(known.status) ? el("p", { class: "warn" }, "Nothing was heard of it since ", ago(known.silent_since), ".") : null,
    el(
      "dl",
      { class: "facts row" },
      fact("Made", ago(known.created_at)),
      fact("Began", ago(known.started_at)),
      known.finished_at ? fact("Ended", ago(known.finished_at)) : null,
      fact(hasEnded(known.status) ? "Took" : "So far", lasted(known.started_at, known.finished_at)),
      fact("Attempt", String(known.attempt)),
      fact("Id", el("code", null, known.id)),
    ),
  );
}

function fact(name, value) {
  return el("div", { key: name }, el("dt", null, name), el("dd", null, value));
}

// --- instances -------------------------------------------------------------------------------------------------------

function instances(known, { unlink }) {
  if (!known.instances.length) return nothing("No instance counts for this Run yet.", "It is linked as soon as an engine tells of one that a rule leads here.");
  const columns = [["Engine", "c-engine"], ["Instance", "c-run"], ["Status", "c-status"], ["Linked by", "c-rule"], ["Took", "c-duration"], ["Message", "c-message"]];
  if (mayWrite()) columns.push(["", "c-do"]);
  return table(
    "Instances that count for this Run",
    columns,
    known.instances.map((one) => [
      one.id,
      [
        engine(one.engine),
        [el("span", { class: "what" }, one.workflow ?? ""), " ", deepLink(one.url, one.external_id), one.attempt > 1 ? [" ", el("span", { class: "times" }, `attempt ${one.attempt}`)] : null, earlier(one)],
        one.vanished_at ? [status(one.status, one.native_status), " ", el("span", { class: "warn" }, sign("VANISHED"), "vanished ", ago(one.vanished_at))] : status(one.status, one.native_status),
        linkedBy(one.link),
        lasted(one.started_at, one.finished_at ?? one.vanished_at),
        line(one.message),
        ...(mayWrite() ? [el("button", { type: "button", class: "quiet", "aria-label": `Unlink ${one.engine} ${one.external_id}`, onclick: () => unlink(one) }, "Unlink")] : []),
      ],
    ]),
    { class: "instances" },
  );
}

function earlier(one) {
  const links = one.attempts.filter((a) => a.number < one.attempt && a.url && a.url !== one.url);
  return links.length ? el("span", { class: "faint" }, " earlier: ", links.map((a) => [deepLink(a.url, `#${a.number}`), " "])) : null;
}

function linkedBy({ rule, key, created_by: by }) {
  if (rule === null) return el("span", null, "by hand", by ? el("span", { class: "faint" }, ` (${by})`) : null);
  return [el("span", { class: "rule" }, rule), key !== null ? [" ", el("span", { class: "faint" }, "matched "), el("code", null, key)] : null];
}

// --- why, and what happened ------------------------------------------------------------------------------------------

function why(known) {
  if (!known.statuses.length) return nothing("Nothing has moved it yet.");
  return table(
    "Each status and the observation behind it",
    [["Status", "c-status"], ["When", "c-age"], ["Because", "c-because"], ["Learnt", "c-learnt"]],
    [...known.statuses].reverse().map((one, n) => [`${known.statuses.length - n}`, [status(one.status), ago(one.occurred_at), because(one), learnt(one)]]),
    { class: "why" },
  );
}

function because(one) {
  const seen = one.because;
  if (!seen) return el("span", null, one.actor ? `${one.actor} decided` : "decided without an observation");
  return [engine(seen.engine), " ", el("span", { class: "what" }, `${seen.workflow ?? ""} ${seen.external_id}`), " said ", el("q", null, seen.native_status ?? "?")];
}

function learnt(one) {
  const late = (Date.parse(one.recorded_at) - Date.parse(one.occurred_at)) / 1000;
  const feed = one.because?.feed;
  return [feed ? `${feed}, ` : "", late >= 1 ? `${duration(late)} after` : "at once"];
}

function history(known) {
  if (!known.events.length) return nothing("Nothing was told yet.");
  const latest = [...known.events].reverse();
  return el(
    "details",
    { key: "history" },
    el("summary", null, count(latest.length, "event")),
    table(
      "Events of this Run, latest first",
      [["When", "c-age"], ["Event", "c-event"], ["What", "c-message"], ["By", "c-by"]],
      latest.map((event) => [String(event.sequence ?? event.position ?? event.recorded_at), [ago(event.occurred_at), el("code", null, event.type), about(event), event.actor ?? ""]]),
      { class: "events" },
    ),
  );
}

function about({ data }) {
  const words = [data.error_summary, data.cancellation_reason, data.rule ? `rule ${data.rule}` : null, data.error_message].filter(Boolean);
  return line(words.join(", "));
}

