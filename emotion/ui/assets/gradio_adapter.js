// What rests on parts of Gradio's page that it does not promise to keep, as they are in Gradio 6.31.0: its elements and
// classes, the class of its theme, and that it asks its server by window.fetch. tests/test_browser_gradio.py holds each
// against the page.
export const GRADIO_VERSION = "6.31.0";
export const HOOKS = {
  fileInput: "input[type=file]",
  chosenFile: ".icon-button-wrapper button", // in a box of one recording
  storedFile: "a[download]",
  openTab: "#tabs [role=tab][aria-selected=true]", // its data-tab-id is the id of the tab
  listLabel: "[data-testid=block-label]", // from here on in a list of files
  listUpload: "button.upload-container",
  listUploadAround: ".icon-button:has(.upload-container)", // with the button that clears behind it
  listFile: "tr.file",
  listFileName: ".filename",
  listFileClear: ".label-clear-button",
  dark: "body.dark",
};
const SUFFIXES =
  "wav,mp3,m4a,aac,flac,ogg,oga,opus,webm,mp4,mov,mkv,mka,3gp,amr,awb,aif,aiff,caf,wma,au,ac3".split(",");

// ---- what changes on the page ----
export function onPageChange(callback) {
  const seen = { childList: true, subtree: true, attributeFilter: ["aria-selected"] };
  new MutationObserver(callback).observe(document.documentElement, seen);
}

// Light and dark are a class of the body.
export function onThemeChange(callback) {
  new MutationObserver(callback).observe(document.body, { attributes: true, attributeFilter: ["class"] });
}

export const openTab = () => document.querySelector(HOOKS.openTab)?.dataset.tabId;

// ---- what Gradio asks its server ----
// Has every answer, and every request that got none, told; gives the fetch that nobody listens to.
export function onFetch(answered, failed) {
  const plain = window.fetch.bind(window);
  window.fetch = async (...request) => {
    try {
      const answer = await plain(...request);
      answered(answer);
      return answer;
    } catch (error) {
      if (error instanceof TypeError) failed();
      throw error;
    }
  };
  return plain;
}

// ---- files that are chosen ----
const boxOf = (event) => event.target instanceof Element && event.target.closest(".takes-sound");
const suffixOf = (name) => name.split(".").pop().toLowerCase();
const isSound = (file) => SUFFIXES.includes(suffixOf(file.name));

// Sound by its name, of which the browser does not say that it is.
export const isUntyped = (file) => isSound(file) && !file.type.startsWith("audio/");

export const typedAsSound = (file) => new File([file], file.name, { type: `audio/${suffixOf(file.name)}` });

function typed(files) {
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(isUntyped(file) ? typedAsSound(file) : file);
  return transfer;
}

// Browsers know too few names of sound: without a type, Gradio refuses a file that the recogniser can read.
export function acceptSoundByName() {
  document.addEventListener("click", (event) => {
    const input = boxOf(event) && boxOf(event).querySelector(HOOKS.fileInput);
    if (!input) return;
    input.accept = `audio/*,${SUFFIXES.map((name) => `.${name}`).join(",")}`;
    if (boxOf(event).matches(".takes-zip")) input.accept += ",.zip";
  }, true);
  document.addEventListener("change", (event) => {
    if (!boxOf(event) || ![...(event.target.files || [])].some(isUntyped)) return;
    event.target.files = typed(event.target.files).files;
  }, true);
  document.addEventListener("drop", (event) => {
    if (!boxOf(event) || ![...event.dataTransfer.files].some(isUntyped)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const dataTransfer = typed(event.dataTransfer.files);
    event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  }, true);
}

// Calls `refuse` with the files that are chosen for or dropped on a box of sound; where it says so, nothing takes them.
export function beforeFilesAreSent(refuse) {
  const look = (event, files) => {
    if (!boxOf(event) || !refuse([...(files || [])])) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.target.value) event.target.value = "";
  };
  document.addEventListener("change", (event) => look(event, event.target.files), true);
  document.addEventListener("drop", (event) => look(event, event.dataTransfer?.files), true);
}

// Whether a recording is shown that is still on its way to the server.
export function isOnItsWay(box) {
  return Boolean(box.querySelector(HOOKS.chosenFile) && !box.querySelector(HOOKS.storedFile));
}

// Gradio's list of files: one button lies in another, where no screen reader finds it, and its names are English.
export function nameFileLists() {
  const name = (element, label) => element && element.setAttribute("aria-label", label);
  for (const list of document.querySelectorAll(".takes-zip")) {
    const label = list.querySelector(HOOKS.listLabel)?.textContent.trim();
    if (!label) continue;
    for (const part of list.querySelectorAll(`${HOOKS.listUpload}, ${HOOKS.fileInput}`)) name(part, label);
    const around = list.querySelector(HOOKS.listUploadAround);
    if (!around) continue;
    around.setAttribute("role", "group");
    around.tabIndex = -1;
    around.title = label;
    name(around, label);
    const clear = around.nextElementSibling?.getAttribute("aria-label") || "";
    for (const file of list.querySelectorAll(HOOKS.listFile)) {
      const fileName = file.querySelector(HOOKS.listFileName).textContent.trim();
      name(file.querySelector(HOOKS.listFileClear), `${clear} ${fileName}`);
    }
  }
}
