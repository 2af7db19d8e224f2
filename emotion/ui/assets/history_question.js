// The question before runs are deleted. Runs as `js_on_load` of its gr.HTML; a <dialog> keeps the focus, and Escape is
// its way back.
element.addEventListener("click", (event) => {
  const dialog = element.querySelector("dialog");
  const button = event.target.closest("button");
  if (!button) {
    if (event.target === dialog) dialog.close();
    return;
  }
  dialog.close();
  if (!button.dataset.delete) return;
  const leave = new CustomEvent("leave", { detail: button.dataset.delete, bubbles: true });
  document.querySelector("#history-list .run")?.dispatchEvent(leave);
  trigger("delete", { delete: button.dataset.delete });
});

watch("value", () => {
  const dialog = element.querySelector("dialog");
  if (!dialog) return;
  // Emptied here, so that the same question can be asked again.
  dialog.addEventListener("close", () => { props.value = ""; }, { once: true });
  if (!dialog.open) dialog.showModal();
});
