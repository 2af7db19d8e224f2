// The table of a batch. Runs as `js_on_load` of a gr.HTML whose template is batch.html, which never changes: the value
// has the rows as HTML, some of them in a piece, and only those that differ are put in anew, so that place and focus
// stay.
const box = element.querySelector(".batch-table");
const head = element.querySelector("thead");
const body = element.querySelector("tbody");
let headings = "";
let shown = [];
let look = "";

function showRows(pieces) {
  const rows = pieces.flatMap((piece) => piece.split("\n"));
  const holder = document.createElement("template");
  rows.forEach((html, place) => {
    if (html === shown[place]) return;
    holder.innerHTML = html;
    const row = holder.content.firstElementChild;
    if (body.children[place]) body.children[place].replaceWith(row);
    else body.append(row);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  shown = rows;
}

function showValue() {
  const { batch, look: now, label, columns, pieces } = props.value || {};
  box.hidden = !batch;
  if (!batch) return;
  sessionStorage.setItem("batch", batch);
  box.setAttribute("aria-label", label);
  if (headings !== columns) head.innerHTML = headings = columns;
  showRows(pieces);
  if (now !== look) box.scrollTop = 0;
  look = now;
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-open]");
  if (!button) return;
  button.setAttribute("aria-busy", "true");
  trigger("select", { open: button.dataset.open });
});

watch("value", showValue);
showValue();
