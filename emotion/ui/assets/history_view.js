// The line above the open clip of the history, and above two that are compared.

class ViewHead {
  constructor({ element, trigger }, attribute) {
    this.element = element;
    this.trigger = trigger;
    this.attribute = attribute; // of the button that opens it, with the folder of the clip
    this.from = null; // the folder whose button opened this
    this.isClosing = false;
    element.addEventListener("click", (event) => this.click(event.target.closest("button")));
  }

  click(button) {
    if (!button) return;
    this.isClosing = "close" in button.dataset;
    if (this.isClosing) this.trigger("clear");
    else this.goBack();
  }

  goBack() {
    const opener = `#history-list [data-${this.attribute}="${CSS.escape(this.from ?? "")}"]`;
    const target = document.querySelector(opener) || document.querySelector("#history-list [data-open]");
    target?.focus();
    target?.scrollIntoView({ block: "center" });
  }

  // Gives the title the focus where the reader would not see it; it was opened by what has the focus now.
  show(isBeside) {
    const title = this.element.querySelector("h2");
    if (!title && this.isClosing) this.goBack();
    this.isClosing = false;
    const origin = document.activeElement?.closest?.("#history-list [data-open], #history-list [data-compare]");
    if (!title || !origin) return;
    this.from = origin.dataset.open || origin.dataset.compare;
    if (isBeside) title.scrollIntoView({ block: "nearest" });
    else title.focus();
  }
}

export function mountOpened({ element, trigger, watch }) {
  const head = new ViewHead({ element, trigger }, "open");
  watch("value", () => head.show(matchMedia("(min-width: 700px)").matches));
}

export function mountComparison({ element, trigger, watch }) {
  const head = new ViewHead({ element, trigger }, "compare");
  watch("value", () => {
    shareWidth(element.querySelector(".comparison"));
    head.show(false);
  });
}

// Both on one scale of time: the shorter clip takes a part of the width.
function shareWidth(pair) {
  for (const name of ["one", "other"]) {
    document.querySelector(`#comparison-${name}-timeline`).style.setProperty("--share", pair ? pair.dataset[name] : 1);
  }
}
