// Buttons that choose which recordings of a batch the table shows, after patched.js.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-kind], [data-part]");
  if (button) trigger("click", { ...button.dataset });
});
