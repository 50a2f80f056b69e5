// A question in a dialog: yes or no, with a reason, or with something to be found first. `run` and `inbox` come here.

import { el, show } from "./dom.js";

const SEARCH_MS = 250;

/**
 * Asks, and resolves with null when it is called off, else with what was given: `{reason, found}`.
 * `search(text)` resolves with the choices: `[{value, content}]`.
 */
export function ask({ title, text = null, reason = false, search = null, button, bad = false }) {
  return new Promise((resolve) => {
    const back = document.activeElement;
    const area = reason ? el("textarea", { id: "reason", rows: 3, maxlength: 10000 }) : null;
    const finder = search ? findOne(search) : null;
    const form = el(
      "form",
      { method: "dialog", onsubmit: () => (dialog.returnValue = "yes") },
      el("h2", { id: "ask-title" }, title),
      text ? el("p", null, text) : null,
      area ? el("div", { class: "field" }, el("label", { for: "reason" }, "Reason (may be left out)"), area) : null,
      finder?.nodes,
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", onclick: () => dialog.close("no") }, "Leave it"),
        el("button", { type: "submit", class: bad ? "bad" : "main" }, button),
      ),
    );
    const dialog = el("dialog", { "aria-labelledby": "ask-title" }, form);
    form.addEventListener("submit", (event) => {
      if (finder && !finder.chosen()) {
        event.preventDefault();
        finder.complain();
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (back?.isConnected) back.focus();
      resolve(dialog.returnValue === "yes" ? { reason: area?.value.trim(), found: finder?.chosen() } : null);
    });
    document.body.append(dialog);
    dialog.returnValue = "no";
    dialog.showModal();
    (area ?? finder?.input ?? form.querySelector("button[type=submit]")).focus();
  });
}

function findOne(search) {
  let timer = null;
  let asked = 0;
  const list = el("div", { class: "choices", role: "radiogroup", "aria-label": "What was found" });
  const said = el("p", { class: "faint", role: "status" });
  const input = el("input", {
    id: "find", type: "search", autocomplete: "off", spellcheck: "false",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(look, SEARCH_MS);
    },
  });

  async function look() {
    const mine = ++asked;
    try {
      const found = await search(input.value.trim());
      if (mine !== asked) return;
      show(list, found.map(({ value, content }) => el("label", { key: value, class: "choice" }, el("input", { type: "radio", name: "found", value }), content)));
      said.textContent = found.length ? "" : "Nothing is like that.";
    } catch (error) {
      said.textContent = error.message;
    }
  }

  look();
  return {
    input,
    nodes: [el("div", { class: "field" }, el("label", { for: "find" }, "Search"), input), said, list],
    chosen: () => list.querySelector("input:checked")?.value ?? null,
    complain: () => (said.textContent = "Choose one first."),
  };
}
