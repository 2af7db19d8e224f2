// Small pieces of the document that several parts of the page make.

export function append(parent, tag, text, kind) {
  const child = document.createElement(tag);
  child.textContent = text;
  if (kind) child.className = kind;
  parent.append(child);
  return child;
}

// The emoji of a label, which no screen reader reads, and its name.
export function appendLabel(parent, tag, label, kind) {
  const child = append(parent, tag, "", kind);
  append(child, "span", label.emoji, "emoji").setAttribute("aria-hidden", "true");
  child.append(` ${label.name}`);
  return child;
}

export const themed = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

// Gives a canvas the pixels of its place on the screen; says by how much they are denser than those of the page.
export function fitCanvas(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  const size = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  return density;
}

// One sound at a time.
export function pauseOthers(audio) {
  document.querySelectorAll("audio").forEach((other) => other !== audio && other.pause());
}
