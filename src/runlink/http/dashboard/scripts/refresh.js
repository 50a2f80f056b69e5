// When a view reads anew. Events may come by the thousand; what is shown is read at most once a second, and rests three
// times as long as the last reading took, so that a large page costs no more than a quarter of anybody's time.

import { Refused } from "./api.js";
import { listen } from "./live.js";
import { trouble } from "./trouble.js";

const LEAST_MS = 1000;

/**
 * Calls `load(signal)` after each event for which `concerns(event)`, `leastMs` apart at the least, and every `everyMs`
 * where that is given and `isOpen()`. Returns `now()`, which reads at once and can be waited for, and `stop()`.
 */
export function keepFresh(load, { concerns = () => true, everyMs = null, leastMs = LEAST_MS, isOpen = () => true } = {}) {
  let timer = null;
  let running = null;
  let again = false;
  let restMs = leastMs;
  let lastEnd = 0;
  let stopped = false;
  let abort = new AbortController();

  async function read() {
    const began = performance.now();
    abort = new AbortController();
    try {
      await load(abort.signal);
      if (!stopped) trouble(load, null);
    } catch (error) {
      if (error.name === "AbortError" || stopped) return;
      if (!(error instanceof Refused)) throw error;
      trouble(load, error.message);
    } finally {
      restMs = Math.max(leastMs, 3 * (performance.now() - began));
      lastEnd = performance.now();
    }
  }

  function soon() {
    if (stopped || timer !== null) return;
    if (running !== null) {
      again = true;
      return;
    }
    timer = setTimeout(now, Math.max(0, lastEnd + restMs - performance.now()));
  }

  function now() {
    clearTimeout(timer);
    timer = null;
    abort.abort();
    again = false;
    const mine = (running = read().finally(() => {
      if (running !== mine) return;
      running = null;
      if (again) soon();
    }));
    return mine;
  }

  const forget = listen((event) => {
    if (event === null || concerns(event)) soon();
  });
  const beat = everyMs === null ? null : setInterval(() => document.hidden || !isOpen() || soon(), everyMs);
  return {
    now,
    soon,
    stop() {
      stopped = true;
      forget();
      clearTimeout(timer);
      clearInterval(beat);
      abort.abort();
    },
  };
}
