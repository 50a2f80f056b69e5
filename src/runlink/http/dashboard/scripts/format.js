// How times, durations and addresses are written. Every view comes here.

let aheadMs = 0; // the server's clock before this computer's

/** Takes in what an answer's `Date` says: all ages are told by the server's clock. */
export function readClock(date) {
  const told = Date.parse(date ?? "");
  if (Number.isNaN(told)) return;
  const found = told + 500 - Date.now();
  if (Math.abs(found - aheadMs) > 1500) aheadMs = found;
}

/** Milliseconds of the epoch, by the server's clock. */
export function now() {
  return Date.now() + aheadMs;
}

/** Seconds in words: 400 ms, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. */
export function duration(seconds) {
  if (seconds > 0 && seconds < 0.95) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${Math.max(0, Math.round(seconds * 10) / 10)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

function two(large, largeUnit, small, smallUnit) {
  return small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;
}

/** How long ago, coarsely. */
export function relative(ms) {
  const s = (now() - ms) / 1000;
  const abs = Math.abs(s);
  if (abs < 1.5) return "now";
  let text;
  if (abs < 60) text = `${Math.floor(abs)} s`;
  else if (abs < 3600) text = `${Math.floor(abs / 60)} min`;
  else if (abs < 86400) text = `${Math.floor(abs / 3600)} h`;
  else text = `${Math.floor(abs / 86400)} d`;
  return s >= 0 ? `${text} ago` : `in ${text}`;
}

/** A time of here, to the second, with its distance from UTC. */
export function absolute(text) {
  const at = new Date(text);
  const pad = (n) => String(n).padStart(2, "0");
  const away = -at.getTimezoneOffset();
  const zone = away === 0 ? "UTC" : `UTC${away > 0 ? "+" : "−"}${pad(Math.floor(Math.abs(away) / 60))}:${pad(Math.abs(away) % 60)}`;
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${clock(text)} ${zone}`;
}

/** The time of day of here. */
export function clock(text) {
  const at = new Date(text);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

/** Seconds between two times; until now where the second is missing. */
export function between(begin, end) {
  return ((end ? Date.parse(end) : now()) - Date.parse(begin)) / 1000;
}

/** The address if a browser may go there: http or https, and nothing else that an engine might tell. */
export function safeUrl(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** "1 run", "2 runs". */
export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
