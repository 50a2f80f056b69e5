// Requests to the API. Whoever reads or changes something comes here.

import { readClock } from "./format.js";

/** What the API refused, or that it did not answer (`status` 0). `message` is for people. */
export class Refused extends Error {
  constructor(status, type, message) {
    super(message);
    this.status = status;
    this.type = type; // the last part of the problem's type: stale-version
  }
}

const session = { name: null, role: null, scopes: [], csrf_token: null };

/** Who is at the page. */
export function who() {
  return session;
}

/** Whether buttons that write are shown. Reading as whoever sits at this machine is nobody's session. */
export function mayWrite() {
  return session.csrf_token !== null && session.scopes.some((scope) => scope === "write" || scope === "admin");
}

/** Asks the server who is at the page. */
export async function readSession() {
  Object.assign(session, await get("/session"));
}

/** The answer to a GET below /api/v1; parameters that are null or empty are left out. */
export async function get(path, parameters = {}, options = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const tail = query.size ? `?${query}` : "";
  return (await ask("GET", `/api/v1${path}${tail}`, options)).body;
}

/** Changes something below /api/v1. `version` is what is to be changed, as it was seen. */
export async function send(method, path, body, version) {
  const headers = {};
  if (version !== undefined && version !== null) headers["If-Match"] = `"${version}"`;
  return (await ask(method, `/api/v1${path}`, { body, headers })).body;
}

/** Ends the session and goes to the login. */
export async function logOut() {
  await ask("POST", "/logout", {});
  location.assign("/login");
}

/** To the login, and back to what is shown now. */
export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

async function ask(method, address, { body, headers = {}, signal } = {}) {
  const all = { Accept: "application/json", ...headers };
  if (method !== "GET" && session.csrf_token !== null) all["X-CSRF-Token"] = session.csrf_token;
  if (body !== undefined) all["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address, { method, headers: all, body: JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The server does not answer.");
  }
  readClock(answer.headers.get("Date"));
  const text = await answer.text();
  const isJson = /^application\/(problem\+)?json/.test(answer.headers.get("Content-Type") ?? "");
  const found = isJson && text ? JSON.parse(text) : null;
  if (answer.ok) return { body: found };
  if (answer.status === 401) toLogin();
  const type = (found?.type ?? "").split(":").pop();
  throw new Refused(answer.status, type, found?.detail ?? `The server answered ${answer.status}.`);
}
