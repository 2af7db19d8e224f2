// What the page does around its tabs, from its beginning.
import { startAlerts } from "./alerts.js";
import { acceptSoundByName, isOnItsWay, nameFileLists, onPageChange, openTab } from "./gradio_adapter.js";

const PATIENCE_MS = 60_000;
const LOOK_EVERY_MS = 50;

// What was just spoken or chosen is still on its way to the server: a click on Recognise waits for it. Gradio shows the
// recording at once, and its link to download only when the server has it.
function waitForRecording() {
  const isWaiting = () => isOnItsWay(document.getElementById("recording"));
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("#recognise");
    if (!button || !isWaiting()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const giveUp_ms = performance.now() + PATIENCE_MS;
    const look = () => {
      if (!isWaiting()) button.click();
      else if (performance.now() < giveUp_ms) setTimeout(look, LOOK_EVERY_MS);
    };
    look();
  }, true);
}

// The language: a cookie tells the server, which then sends the page in it.
function switchLanguage(event) {
  const button = event.target instanceof Element && event.target.closest("[data-language]");
  if (!button || button.getAttribute("aria-pressed") === "true") return;
  document.cookie = `emotion_language=${button.dataset.language};path=/;max-age=31536000;samesite=lax`;
  location.reload();
}

function showLanguage() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(navigator.language.startsWith(button.dataset.language)));
  }
}

// What this browser tab shows is kept for when it is loaded anew; the timeline keeps the clip. The tab that the page
// begins with is no choice, and does not count.
let knownTab = "";
function keepTab() {
  const tab = openTab();
  if (!tab || tab === knownTab) return;
  if (knownTab) sessionStorage.setItem("tab", tab);
  else (window.requestIdleCallback || setTimeout)(fetchModules);
  knownTab = tab;
}

// The scripts of tabs that are not open yet, once the page stands and nobody waits for it.
function fetchModules() {
  for (const name of studio.modules) {
    const href = new URL(name, import.meta.url);
    document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href }));
  }
}

acceptSoundByName();
startAlerts();
waitForRecording();
document.addEventListener("click", switchLanguage);
onPageChange(() => {
  showLanguage();
  keepTab();
  nameFileLists();
});
