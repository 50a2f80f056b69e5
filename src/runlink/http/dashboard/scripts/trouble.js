// One line above every view for what went wrong, and short notes for what was done. Whoever asks or writes comes here.

import { el, show, tell } from "./dom.js";

const troubles = new Map();

/** Says what is wrong with something until it is called with null for the same. */
export function trouble(what, text) {
  if (text === null) troubles.delete(what);
  else troubles.set(what, text);
  show(document.getElementById("trouble"), [...new Set(troubles.values())].map((one) => el("p", { class: "trouble" }, one)));
}

/** Nothing is wrong any more: another view is opened. */
export function calm() {
  troubles.clear();
  trouble(null, null);
}

/** A note at the foot of the page, for as long as it takes to read it. */
export function note(text, isBad = false) {
  document.querySelector(".note")?.remove();
  const box = el("p", { class: isBad ? "note bad" : "note" }, text);
  document.body.append(box);
  tell(text);
  setTimeout(() => box.remove(), isBad ? 10_000 : 5000);
}

/** Runs something that writes; says so when it is refused. True when it went well. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    note(error.message, true);
    return false;
  }
}
