// The tab Batch: the table of recordings, and the buttons that choose which of them it shows.
import { mount as mountPatched } from "./patched.js";

// Rows of the table: `pieces` are rows as HTML, some of them in one text; only those that differ are put in anew, so
// that place and focus stay.
class Rows {
  constructor(body) {
    this.body = body;
    this.shown = [];
  }

  show(pieces) {
    const rows = pieces.flatMap((piece) => piece.split("\n"));
    const holder = document.createElement("template");
    rows.forEach((html, place) => {
      if (html === this.shown[place]) return;
      holder.innerHTML = html;
      const row = holder.content.firstElementChild;
      if (this.body.children[place]) this.body.children[place].replaceWith(row);
      else this.body.append(row);
    });
    while (this.body.children.length > rows.length) this.body.lastElementChild.remove();
    this.shown = rows;
  }
}

// The template is batch.html, which never changes: the script alone puts in what the value says.
export function mountTable({ element, props, trigger, watch }) {
  const box = element.querySelector(".batch-table");
  const head = element.querySelector("thead");
  const rows = new Rows(element.querySelector("tbody"));
  let headings = "";
  let look = "";

  function show() {
    const { batch, look: now, label, columns, pieces } = props.value || {};
    box.hidden = !batch;
    if (!batch) return;
    sessionStorage.setItem("batch", batch);
    box.setAttribute("aria-label", label);
    if (headings !== columns) head.innerHTML = headings = columns;
    rows.show(pieces);
    if (now !== look) box.scrollTop = 0;
    look = now;
  }

  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-open]");
    if (!button) return;
    button.setAttribute("aria-busy", "true");
    trigger("select", { open: button.dataset.open });
  });
  watch("value", show);
  show();
}

// A part that is rendered again and again, with buttons that choose what the table shows.
export function mountChoice({ element, trigger, ...rest }) {
  mountPatched({ element, trigger, ...rest });
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-kind], [data-part]");
    if (button) trigger("click", { ...button.dataset });
  });
}
