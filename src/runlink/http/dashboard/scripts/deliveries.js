// What engines pushed, and what they told that could not be taken in.

import { get } from "./api.js";
import { el, show } from "./dom.js";
import { ago, engine, loading, nothing, table } from "./parts.js";
import { keepFresh } from "./refresh.js";

const EVERY_MS = 10_000;
const SET_ASIDE = [["Engine", "c-engine"], ["Instance", "c-run"], ["Why", "c-message"], ["Seen", "c-age"], ["Times", "c-count"]];

export function deliveries(main, { titled }) {
  titled("Deliveries");
  const aside = el("div", null, loading());
  main.append(el("h1", null, "Deliveries"), el("section", { "aria-labelledby": "h-aside" }, el("h2", { id: "h-aside" }, "Set aside"), aside));
  let pages = 1;
  const fresh = keepFresh(
    async (signal) => {
      const found = [];
      let cursor = null;
      for (let n = 0; n < pages; n++) {
        const page = await get("/quarantine", { cursor, limit: 50 }, { signal });
        found.push(...page.items);
        cursor = page.next_cursor;
        if (cursor === null) break;
      }
      show(aside, setAside(found), cursor ? el("button", { type: "button", onclick: () => (pages++, fresh.now()) }, "Show more") : null);
    },
    { concerns: () => false, everyMs: EVERY_MS },
  );
  fresh.now();
  return fresh;
}

function setAside(rows) {
  if (!rows.length) return nothing("Nothing is set aside.", "What an engine tells and runlink cannot read is kept here with its reason; everything else goes on.");
  return table(
    "What could not be taken in, latest first",
    SET_ASIDE,
    rows.map((row) => [
      `${row.engine} ${row.fingerprint}`,
      [
        engine(row.engine),
        [row.external_id ?? el("span", { class: "faint" }, "unknown"), " ", el("span", { class: "faint" }, row.feed)],
        [el("span", { class: "why-not" }, row.reason), row.raw ? el("details", null, el("summary", null, "As it was told"), el("pre", { tabindex: 0 }, row.raw)) : null],
        ago(row.last_seen_at),
        row.count.toLocaleString("en"),
      ],
    ]),
    { class: "aside" },
  );
}
