// Elements, and how those on the page are brought up to date. Every view comes here.
//
// A view makes anew what it shows; `update` then changes what differs in what is there already, so that focus, selection,
// scrolling and opened parts stay. Text always becomes a text node: nothing that an engine tells is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "ontoggle", "onkeydown"];
const OF_THE_READER = { DETAILS: ["open"], DIALOG: ["open"] }; // attributes that stay as they are found

/**
 * An element. `props`: attributes (null, undefined and false leave one out), handlers as `onclick`, `style` as an object of
 * properties, `key` as what tells it from its siblings. Children: nodes, texts, lists of them, or nothing.
 */
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "key") node.dataset.key = value;
    else if (name === "style") for (const [property, one] of Object.entries(value)) node.style.setProperty(property, one);
    else if (HANDLERS.includes(name)) {
      node[name] = value;
      node.isHandled = true;
    }
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Makes the children of `parent` like these. */
export function show(parent, ...children) {
  const fresh = document.createElement("div");
  fresh.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  align(parent, fresh);
}

function update(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  const kept = OF_THE_READER[old.tagName] ?? [];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (kept.includes(name) || old.getAttribute(name) === value) continue;
    if (name === "style") old.style.cssText = value; // the content policy forbids the attribute, not the property
    else old.setAttribute(name, value);
  }
  if (old.isHandled || fresh.isHandled) {
    for (const name of HANDLERS) old[name] = fresh[name];
    old.isHandled = fresh.isHandled;
  }
  align(old, fresh);
}

/** Brings the children of `old` into the form of those of `fresh`: by key, else by place and tag. */
function align(old, fresh) {
  const keyed = new Map();
  const plain = [];
  for (const child of old.childNodes) {
    if (child.dataset?.key !== undefined) keyed.set(child.dataset.key, child);
    else plain.push(child);
  }
  let place = 0;
  const wanted = [...fresh.childNodes].map((child) => {
    const key = child.dataset?.key;
    let found;
    if (key !== undefined) {
      found = keyed.get(key);
      keyed.delete(key);
    } else if (place < plain.length && plain[place].nodeName === child.nodeName) {
      found = plain[place++];
    }
    if (found === undefined || found.nodeName !== child.nodeName) return [child, null];
    return [child, found];
  });
  const staying = new Set(wanted.map(([, found]) => found));
  for (const child of [...old.childNodes]) if (!staying.has(child)) child.remove();
  let at = old.firstChild;
  for (const [child, found] of wanted) {
    if (found === null) {
      old.insertBefore(child, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else old.insertBefore(found, at);
    update(found, child);
  }
}

/** Says something to those who listen to the page instead of looking at it. */
export function tell(text) {
  const place = document.getElementById("told");
  place.append(el("span", null, `${text}. `));
  while (place.childNodes.length > 20) place.firstChild.remove();
}
