// The live stream of the page: one connection, whatever view is shown. `main` starts it, views listen.
//
// A browser comes back by itself and says where it was (`Last-Event-ID`), so nothing is missed. Where it cannot (the server
// refused, or forgot), a new connection is made and whoever listens reads everything anew. A page in the background lets go
// of its connection: browsers allow six to a server, for all pages together.

import { get } from "./api.js";

const SOON_MS = 1000;
const LATE_MS = 15_000;

let source = null;
let retryMs = SOON_MS;
let timer = null;
const state = { name: "connecting", since: Date.now() };
const listeners = new Set();
const watchers = new Set();
const TYPES = [
  "run.started", "run.completed", "run.failed", "run.cancelled", "run.reopened", "run.silent", "batch_execution.failed",
  "item_execution.failed", "items.drifted", "instance.status_changed", "instance.vanished", "instance.linked",
  "instance.unlinked", "engines.changed", "deliveries.changed",
];

/** Calls `heard(event)` for each event and notice (which concerns no Run), and `heard(null)` when everything is to be read anew; returns how to stop. */
export function listen(heard) {
  listeners.add(heard);
  return () => listeners.delete(heard);
}

/** Calls `seen(state)` whenever the connection's state changes: connecting, live, lost, paused. */
export function watch(seen) {
  watchers.add(seen);
  seen(state);
}

/** Connects, and stays connected. */
export function start() {
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : connect()));
  window.addEventListener("online", () => source?.readyState === EventSource.OPEN || connect());
  connect();
}

function connect() {
  clearTimeout(timer);
  source?.close();
  if (state.name !== "lost") become("connecting");
  const own = (source = new EventSource("/api/v1/stream?notices=true"));
  let isFirst = true;
  own.onopen = () => {
    retryMs = SOON_MS;
    become("live");
    if (isFirst) everyone(null); // what happened before this connection came by no stream
    isFirst = false;
  };
  own.onerror = () => {
    become("lost");
    if (own.readyState === EventSource.CLOSED && own === source) {
      get("/session").catch(() => {}); // a session that is over leads to the login
      timer = setTimeout(connect, retryMs);
      retryMs = Math.min(LATE_MS, retryMs * 2);
    }
  };
  own.addEventListener("reset", () => everyone(null));
  for (const type of TYPES) own.addEventListener(type, (event) => everyone({ runs: [], ...JSON.parse(event.data) }));
}

function pause() {
  clearTimeout(timer);
  source?.close();
  source = null;
  become("paused");
}

function become(name) {
  if (state.name === name) return;
  state.name = name;
  state.since = Date.now();
  for (const seen of watchers) seen(state);
}

function everyone(event) {
  for (const heard of listeners) heard(event);
}
