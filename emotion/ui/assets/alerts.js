// What the browser has to say by itself: a file that the server would refuse, a server that is gone, and a sign-in that
// is over.
(() => {
  const words = () => studio.words[navigator.language.startsWith("zh") ? "zh" : "en"];
  const size = (bytes) => (bytes >= 1e9 ? (bytes / 1e9).toFixed(2) + " GB" : Math.max(Math.round(bytes / 1e6), 1) + " MB");

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

  // ---- a file that is too large: said before it is sent, since 200 MB take a while ----
  const tooLarge = (files) => [...(files || [])].find((file) => file.size > studio.max_file_bytes);
  function refuse(event, files) {
    const file = event.target instanceof Element && event.target.closest(".takes-sound") && tooLarge(files);
    if (!file) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.target.value) event.target.value = "";
    const limit = size(studio.max_file_bytes);
    const text = words().too_large.replace("{name}", file.name).replace("{size}", size(file.size)).replace("{limit}", limit);
    say(text, words().close, close);
  }
  document.addEventListener("change", (event) => refuse(event, event.target.files), true);
  document.addEventListener("drop", (event) => refuse(event, event.dataTransfer && event.dataTransfer.files), true);

  // ---- a server that is gone: requests that get no answer at all, while the page is not being left ----
  const ask = window.fetch.bind(window);
  let leaving = false;
  let looking = 0;
  addEventListener("pagehide", () => { leaving = true; });

  async function isThere() {
    try {
      await ask("./", { method: "HEAD", cache: "no-store" });
      return true;
    } catch {
      return false;
    }
  }
  async function look() {
    if (await isThere()) location.reload(); // what was shown comes back, see page.js
  }
  async function doubt() {
    if (leaving || looking || (await isThere()) || looking) return;
    looking = setInterval(look, 2000);
    say(words().gone);
  }

  // ---- a sign-in that is over, and too much at a time: whoever is refused learns why ----
  function again() {
    location.assign("login"); // what was shown comes back after it, see page.js
  }
  function refused(answer) {
    if (new URL(answer.url, location.href).origin !== location.origin) return;
    if (answer.status === 401) {
      say(words().signed_out, words().sign_in, again);
      box.dataset.refused = answer.status;
    }
    if (answer.status === 429) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      say(words().too_many.replace("{seconds}", seconds), words().close, close);
      box.dataset.refused = answer.status;
    }
  }

  window.fetch = async (...request) => {
    try {
      const answer = await ask(...request);
      refused(answer);
      return answer;
    } catch (error) {
      if (error instanceof TypeError) doubt();
      throw error;
    }
  };
})();
