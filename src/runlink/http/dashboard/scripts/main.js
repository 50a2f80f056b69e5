// The page begins here: who is at it, which view the address means, whether it is live, and what time it is.

import { logOut, mayWrite, readSession, toLogin, who } from "./api.js";
import { el, show, tell } from "./dom.js";
import { between, clock, duration, relative } from "./format.js";
import * as live from "./live.js";
import { calm, trouble } from "./trouble.js";
import { deliveries } from "./deliveries.js";
import { engines } from "./engines.js";
import { inbox } from "./inbox.js";
import { run } from "./run.js";
import { runs } from "./runs.js";

const VIEWS = [
  { name: "Runs", path: "/runs", pattern: /^\/(?:runs)?$/, open: runs },
  { name: null, path: "/runs", pattern: /^\/runs\/([0-9a-f-]{36})$/i, open: run },
  { name: "Engines", path: "/engines", pattern: /^\/engines$/, open: engines },
  { name: "Inbox", path: "/inbox", pattern: /^\/inbox$/, open: inbox },
  { name: "Deliveries", path: "/deliveries", pattern: /^\/deliveries$/, open: deliveries },
];
const main = document.getElementById("main");
let opened = null;

/** Goes to an address of this page. */
function go(address) {
  history.pushState(null, "", address);
  openView({ moved: true });
}

function viewAt(path) {
  for (const view of VIEWS) {
    const found = view.pattern.exec(path);
    if (found) return [view, found[1]];
  }
  return [null, null];
}

function openView({ moved }) {
  const [view, id] = viewAt(location.pathname);
  opened?.stop();
  calm();
  main.replaceChildren();
  showViews(view?.path);
  if (view === null) {
    show(main, el("h1", null, "There is no such page"), el("p", null, el("a", { href: "/runs" }, "All Runs")));
    opened = null;
  } else {
    opened = view.open(main, { id, query: new URLSearchParams(location.search), go, titled });
  }
  if (moved) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

function titled(text) {
  document.title = `${text} · runlink`;
}

function showViews(current) {
  const named = VIEWS.filter((view) => view.name !== null);
  show(
    document.getElementById("views"),
    named.map((view) => el("li", null, el("a", { href: view.path, "aria-current": view.path === current ? "page" : null }, view.name))),
  );
}

function showWho() {
  const { name, role } = who();
  const logged = name !== null;
  show(
    document.getElementById("who"),
    el("a", { href: "/docs", class: "quiet" }, "API"),
    el("span", { class: "name", title: logged ? `token ${name}` : "reading is free on this machine" }, logged ? `${name} · ${role}` : "reading only"),
    logged
      ? el("button", { type: "button", class: "quiet", onclick: () => logOut().catch(toLogin) }, "Log out")
      : el("button", { type: "button", class: "quiet", onclick: toLogin }, "Log in"),
  );
}

function showLive({ name, since }) {
  const words = {
    connecting: ["Connecting …", "The live stream is being opened."],
    live: ["Live", "What you see is kept up to date."],
    lost: [`Disconnected since ${clock(since)}`, "What you see may be old. The page connects again by itself."],
    paused: ["Paused", "The page was in the background."],
  };
  const place = document.getElementById("live");
  place.className = `live is-${name}`;
  place.title = words[name][1];
  show(place, el("span", { class: "lamp", "aria-hidden": "true" }), words[name][0]);
  document.body.classList.toggle("is-lost", name === "lost");
}

function tick() {
  for (const node of document.querySelectorAll('[data-form="ago"]')) {
    const text = relative(Date.parse(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
  for (const node of document.querySelectorAll('[data-form="lasting"]')) {
    node.textContent = duration(between(node.dataset.since, null));
  }
}

function followLinks(event) {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || event.defaultPrevented || link.target || link.origin !== location.origin) return;
  if (link.getAttribute("href").startsWith("#") || viewAt(link.pathname)[0] === null) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

function searchBySlash(event) {
  const typing = event.target.closest?.("input, select, textarea, dialog");
  const field = document.querySelector('input[type="search"]');
  if (event.key !== "/" || typing || !field || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  field.focus();
}

document.addEventListener("click", followLinks);
document.addEventListener("keydown", searchBySlash);
window.addEventListener("popstate", () => openView({ moved: false }));
setInterval(tick, 1000);
try {
  await readSession();
  showWho();
  document.body.classList.toggle("may-write", mayWrite());
  openView({ moved: false });
  live.watch(showLive);
  live.start();
} catch (error) {
  if (error.status !== 401) {
    trouble("page", `${error.message} Load the page again in a moment.`);
    tell(error.message);
    if (error.status === undefined) throw error;
  }
}
