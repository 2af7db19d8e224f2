// What the browser has to say by itself: a file that the server would refuse, a server that is gone, a sign-in that is
// over, and too many requests.
import { filled, size } from "./formatting.js";
import { beforeFilesAreSent, onFetch } from "./gradio_adapter.js";

const LOOK_EVERY_MS = 2000;
const words = () => studio.words[navigator.language.startsWith("zh") ? "zh" : "en"];

let box = null;
function say(text, action, act) {
  close();
  box = document.createElement("div");
  box.className = "page-alert";
  box.setAttribute("role", "alert");
  box.append(Object.assign(document.createElement("p"), { textContent: text }));
  if (action) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: action });
    button.addEventListener("click", act);
    box.append(button);
  }
  document.body.append(box);
}

function close() {
  if (box) box.remove();
  box = null;
}

// Said before the file is sent, since 200 MB take a while.
function refuseTooLarge(files) {
  const file = files.find((each) => each.size > studio.max_file_bytes);
  if (!file) return false;
  const values = { name: file.name, size: size(file.size), limit: size(studio.max_file_bytes) };
  say(filled(words().too_large, values), words().close, close);
  return true;
}

// A server that is gone: requests that get no answer at all, while the page is not being left.
function sayWhenGone(isThere) {
  let leaving = false;
  let looking = 0;
  addEventListener("pagehide", () => { leaving = true; });
  const look = async () => {
    if (await isThere()) location.reload(); // what was shown comes back, see page.js
  };
  return async () => {
    if (leaving || looking || (await isThere()) || looking) return;
    looking = setInterval(look, LOOK_EVERY_MS);
    say(words().gone);
  };
}

// Whoever is refused learns why.
function sayRefused(answer) {
  if (new URL(answer.url, location.href).origin !== location.origin) return;
  if (answer.status === 401) {
    say(words().signed_out, words().sign_in, () => location.assign("login")); // what was shown comes back after it
    box.dataset.refused = answer.status;
  }
  if (answer.status === 429) {
    const seconds = Number(answer.headers.get("Retry-After")) || 1;
    say(filled(words().too_many, { seconds }), words().close, close);
    box.dataset.refused = answer.status;
  }
}

export function startAlerts() {
  beforeFilesAreSent(refuseTooLarge);
  const doubt = sayWhenGone(async () => {
    try {
      await plainFetch("./", { method: "HEAD", cache: "no-store" });
      return true;
    } catch {
      return false;
    }
  });
  const plainFetch = onFetch(sayRefused, doubt);
}
