// A part of the page that the server renders again and again: only what differs is changed, so that nothing jumps and
// the focus stays.

function patch(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patchChildren(old, fresh);
}

function patchChildren(old, fresh) {
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, place) => (before[place] ? patch(before[place], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

// The template has an element of the class `patched`, and the value is HTML. Tells the server by `tick` when the part
// comes into sight. Gives the part, and whether it is in sight.
export function mount({ element, props, trigger, watch }) {
  const part = element.querySelector(".patched");
  const inSight = () => part.offsetParent !== null;
  let wasInSight = false;

  function show() {
    const fresh = document.createElement("template");
    fresh.innerHTML = props.value || "";
    patchChildren(part, fresh.content);
  }

  function look() {
    if (inSight() && !wasInSight) trigger("tick");
    wasInSight = inSight();
  }

  watch("value", show);
  show();
  new ResizeObserver(look).observe(part);
  return { part, inSight };
}
