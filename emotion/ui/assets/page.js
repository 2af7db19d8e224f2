// Browsers know too few names of sound: without a type, Gradio refuses a file that the recogniser can read.
(() => {
  const SUFFIXES = "wav,mp3,m4a,aac,flac,ogg,oga,opus,webm,mp4,mov,mkv,mka,3gp,amr,awb,aif,aiff,caf,wma,au,ac3".split(",");
  const suffix = (name) => name.split(".").pop().toLowerCase();
  const isSound = (file) => SUFFIXES.includes(suffix(file.name));
  const box = (event) => event.target instanceof Element && event.target.closest(".takes-sound");

  const typed = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) {
      const known = file.type.startsWith("audio/") || !isSound(file);
      transfer.items.add(known ? file : new File([file], file.name, { type: "audio/" + suffix(file.name) }));
    }
    return transfer;
  };
  const foreign = (files) => [...files].some((file) => isSound(file) && !file.type.startsWith("audio/"));

  document.addEventListener("click", (event) => {
    const input = box(event) && box(event).querySelector("input[type=file]");
    if (!input) return;
    input.accept = "audio/*," + SUFFIXES.map((name) => "." + name).join(",");
    if (box(event).matches(".takes-zip")) input.accept += ",.zip";
  }, true);

  document.addEventListener("change", (event) => {
    if (box(event) && event.target.files && foreign(event.target.files)) event.target.files = typed(event.target.files).files;
  }, true);

  document.addEventListener("drop", (event) => {
    if (!box(event) || !foreign(event.dataTransfer.files)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const dataTransfer = typed(event.dataTransfer.files);
    event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  }, true);
})();

// What was just spoken or chosen is still on its way to the server: a click on Recognise waits for it. Gradio shows the
// recording at once, and its link to download only when the server has it.
(() => {
  const PATIENCE_MS = 60_000;
  const isOnItsWay = () => {
    const box = document.getElementById("recording");
    return box.querySelector(".icon-button-wrapper button") && !box.querySelector("a[download]");
  };
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("#recognise");
    if (!button || !isOnItsWay()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const giveUp_ms = performance.now() + PATIENCE_MS;
    const look = () => {
      if (!isOnItsWay()) button.click();
      else if (performance.now() < giveUp_ms) setTimeout(look, 50);
    };
    look();
  }, true);
})();

// The language: a cookie tells the server, which then sends the page in it.
(() => {
  const show = () => {
    for (const button of document.querySelectorAll("[data-language]")) {
      button.setAttribute("aria-pressed", String(navigator.language.startsWith(button.dataset.language)));
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-language]");
    if (!button || button.getAttribute("aria-pressed") === "true") return;
    document.cookie = `emotion_language=${button.dataset.language};path=/;max-age=31536000;samesite=lax`;
    location.reload();
  });
  new MutationObserver(show).observe(document.documentElement, { childList: true, subtree: true });
})();

// What this browser tab shows is kept for when it is loaded anew; the timeline keeps the clip. The tab that the page
// begins with is no choice, and does not count.
(() => {
  let known = "";
  const keep = () => {
    const open = document.querySelector("#tabs [role=tab][aria-selected=true]");
    if (!open || open.dataset.tabId === known) return;
    if (known) sessionStorage.setItem("tab", open.dataset.tabId);
    known = open.dataset.tabId;
  };
  const seen = { childList: true, subtree: true, attributeFilter: ["aria-selected"] };
  new MutationObserver(keep).observe(document.documentElement, seen);
})();

// Gradio's list of files: one button lies in another, where no screen reader finds it, and its names are English.
(() => {
  const name = (element, label) => element && element.setAttribute("aria-label", label);
  const mend = () => {
    for (const list of document.querySelectorAll(".takes-zip")) {
      const label = list.querySelector("[data-testid=block-label]").textContent.trim();
      for (const part of list.querySelectorAll("button.upload-container, input[type=file]")) name(part, label);
      const around = list.querySelector(".icon-button:has(.upload-container)");
      if (!around) continue;
      around.setAttribute("role", "group");
      around.tabIndex = -1;
      around.title = label;
      name(around, label);
      const clear = around.nextElementSibling?.getAttribute("aria-label") || "";
      for (const file of list.querySelectorAll("tr.file")) {
        name(file.querySelector(".label-clear-button"), `${clear} ${file.querySelector(".filename").textContent.trim()}`);
      }
    }
  };
  new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
})();
