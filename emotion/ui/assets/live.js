// The tab Live: what is said while the microphone listens. `props.value` is what `live_value` of
// emotion/ui/live_socket.py makes, or null. When a session is saved, it triggers 'submit' with the name of the run,
// which stays in the session storage as `live`. `data-live` of the body says what the rest of the page has to know:
// `on` while somebody is listened to, `saving` until whoever shows the run says `off`.
import { append } from "./dom.js";
import { clamp, filled, percent, wholeClock } from "./formatting.js";
import { onThemeChange } from "./gradio_adapter.js";
import { LiveCurve } from "./live_curve.js";
import { canListen } from "./live_microphone.js";
import { LiveSession } from "./live_session.js";

const SLOW = 1.25;
const QUIETEST_DB = -60;
const TROUBLES = ["denied", "missing", "occupied", "insecure", "unreachable", "lost", "error"];

// How full the bar is at a level.
export const levelShare = (level_db) => clamp(1 - level_db / QUIETEST_DB, 0, 1);

// The label with the highest score.
export const bestOf = (scores) => Object.keys(scores).reduce((a, b) => (scores[b] > scores[a] ? b : a));

class Live {
  constructor(root, saved) {
    this.root = root;
    this.saved = saved; // is told the name of the run
    this.button = this.find(".lv-switch");
    this.card = this.find(".lv-card");
    this.curve = new LiveCurve(root, this.find("canvas"));
    this.calm = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.value = null;
    this.state = "idle";
    this.session = null;
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  listen() {
    this.button.addEventListener("click", () => (this.isRunning ? this.stop() : this.start()));
    this.find(".lv-styles").addEventListener("click", (event) => {
      if (!event.target.dataset.style) return;
      this.curve.style = event.target.dataset.style;
      this.showStyle();
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.curve.canvas);
    onThemeChange(() => this.draw());
  }

  get isRunning() {
    return ["asking", "connecting", "listening"].includes(this.state);
  }

  draw() {
    this.curve.draw(this.session ? this.session.heard_s : 0);
  }

  // ---- states ----
  enter(name, hint) {
    const { words } = this.value;
    this.state = name;
    document.body.dataset.live = this.isRunning ? "on" : name === "finishing" || name === "saved" ? "saving" : "off";
    this.showHeadline(words[`${name}_title`]);
    this.showHint(hint === undefined ? words[`${name}_hint`] || "" : hint);
    this.card.classList.toggle("heard", false);
    this.card.classList.toggle("trouble", TROUBLES.includes(name));
    this.showButton();
    if (this.isRunning) return;
    this.showLevel(QUIETEST_DB);
    this.showBars(null);
    this.find(".lv-pace").textContent = "";
  }

  start() {
    this.session = new LiveSession(this);
    this.curve.clear();
    this.showBars(null);
    this.find(".lv-pace").textContent = "";
    this.find(".lv-clock").textContent = wholeClock(0);
    this.enter("asking");
    this.draw();
    this.session.start(() => ({ language: this.value.language, ...this.value.wish }));
  }

  stop() {
    if (this.state === "listening") {
      this.enter("finishing");
      this.session.stop(this.value.wish);
    } else { // nothing was heard yet
      this.session.end();
      this.enter("idle");
    }
  }

  // ---- what the session tells ----
  asked() {
    this.enter("connecting");
  }

  gone() {
    if (this.state === "listening") this.stop(); // what was heard is saved
  }

  trouble(name) {
    this.enter(name);
  }

  lost() {
    if (this.state === "connecting") this.enter("unreachable");
    else this.enter("lost", this.keptHint());
  }

  // What became of the sound of a session that ended otherwise than by Stop.
  keptHint() {
    const { words, wish } = this.value;
    return wish.keep_audio || this.state === "finishing" ? words.lost_hint : words.lost_unkept_hint;
  }

  piece(level_db) {
    if (this.state !== "listening") return; // the last piece
    if (!this.root.isConnected) { // the page was rebuilt around this component
      this.stop();
      return;
    }
    this.showLevel(level_db);
    this.find(".lv-clock").textContent = wholeClock(this.session.heard_s);
    if (this.session.isMuted) this.showHint(this.value.words.muted_hint);
    if (!this.calm.matches) this.draw();
  }

  message(said) {
    if (said.ready) {
      this.curve.every_s = said.every_s;
      this.showLabels(said.labels);
      this.session.listen();
      this.enter("listening");
    } else if (said.labels) {
      this.showLabels(said.labels); // another model answers
    } else if ("time_s" in said) {
      if (this.state === "listening") this.showMoment(said);
    } else if ("finishing" in said) {
      this.showFinishing(said.finishing);
    } else if (said.run) {
      this.showSaved(said);
    } else if (said.error) {
      const hint = this.state === "listening" ? ` ${this.keptHint()}` : "";
      this.session.end();
      this.enter("error", said.error + hint);
    }
  }

  // ---- what is shown ----
  showFinishing(share) {
    if (this.state !== "finishing") { // the recording is as long as it may be
      this.session.microphone.release();
      this.enter("finishing");
    }
    if (share > 0) this.showHint(filled(this.value.words.finishing_share, { percent: percent(share) }));
  }

  showSaved({ run, is_full: isFull }) {
    const { words } = this.value;
    this.session.end();
    this.enter("saved", filled(isFull ? words.full_hint : words.saved_hint, { run }));
    this.saved(run);
  }

  showMoment(moment) {
    const { words, labels } = this.value;
    this.curve.add(moment);
    this.card.classList.toggle("heard", Boolean(moment.scores));
    if (moment.scores) {
      const label = labels.find((each) => each.key === moment.emotion);
      const [emoji, ...name] = label.headline.split(" ");
      this.showHeadline(name.join(" "), emoji);
      this.showHint(filled(words.confidence, { percent: percent(moment.confidence) }));
    } else {
      const kind = moment.is_silent ? "silence" : "no_answer";
      this.showHeadline(words[kind]);
      if (!this.session.isMuted) this.showHint(words[`${kind}_hint`]);
    }
    this.showBars(moment.scores);
    this.showPace(moment.interval_s);
    this.draw();
  }

  showPace(interval_s) {
    const isSlow = interval_s > this.curve.every_s * SLOW;
    const text = this.value.words[isSlow ? "pace_slow" : "pace"];
    this.find(".lv-pace").textContent = filled(text, { seconds: interval_s.toFixed(1) });
  }

  showButton() {
    const { button, state, isRunning } = this;
    button.textContent = this.value.words[state === "listening" ? "stop" : isRunning ? "cancel" : "start"];
    button.classList.toggle("stops", isRunning);
    button.disabled = state === "finishing" || state === "insecure";
  }

  // A screen reader reads the headline when it changes, so it is only touched when it does.
  showHeadline(text, emoji) {
    const headline = this.find(".headline");
    if (headline.dataset.said === (emoji || "") + text) return;
    headline.dataset.said = (emoji || "") + text;
    headline.replaceChildren();
    if (emoji) append(headline, "i", emoji, "emoji").setAttribute("aria-hidden", "true");
    headline.append(emoji ? ` ${text}` : text);
  }

  showHint(text) {
    this.find(".confidence").textContent = text;
  }

  showLevel(level_db) {
    this.find(".lv-level i").style.width = `${(levelShare(level_db) * 100).toFixed(0)}%`;
  }

  showBars(scores) {
    const { labels, words } = this.value;
    const best = scores && bestOf(scores);
    labels.forEach((label, row) => {
      const bar = this.find(".bars").children[row];
      const score = scores && !label.untold ? scores[label.key] || 0 : null;
      bar.className = label.untold ? "bar untold" : label.key === best ? "bar best" : "bar";
      const width = ((score || 0) * 100).toFixed(1);
      bar.querySelector(".bar-track i").setAttribute("style", `width:${width}%;--colour:${label.colour}`);
      const shown = score === null ? "–" : score.toFixed(3);
      bar.querySelector(".bar-score").textContent = label.untold ? words.untold : shown;
    });
  }

  showLabels(labels) {
    this.value.labels = labels;
    this.buildBars();
    this.buildLegend();
    this.showBars(null);
  }

  buildBars() {
    this.find(".bars").setAttribute("aria-label", this.value.words.scores);
    this.find(".bars").replaceChildren(...this.value.labels.map((label) => {
      const bar = document.createElement("li");
      const name = append(bar, "span", "", "bar-name");
      append(name, "i", label.emoji, "emoji").setAttribute("aria-hidden", "true");
      name.append(label.name);
      const track = append(bar, "span", "", "bar-track");
      track.setAttribute("aria-hidden", "true");
      append(track, "i", "");
      append(bar, "span", "", "bar-score");
      return bar;
    }));
  }

  buildLegend() {
    const legend = this.find(".lv-legend");
    legend.replaceChildren();
    for (const label of this.value.labels.filter(({ untold }) => !untold)) {
      append(legend, "b", label.name).style.setProperty("--colour", label.colour);
    }
  }

  showStyle() {
    for (const each of this.root.querySelectorAll(".lv-styles button")) {
      each.textContent = this.value.words[each.dataset.style];
      each.setAttribute("aria-pressed", String(each.dataset.style === this.curve.style));
    }
  }

  // The page was opened, or its language or a wish changed.
  show(value) {
    this.value = this.curve.value = value ? { ...value } : null; // its labels change when another model answers
    this.root.hidden = !value;
    if (!value) return;
    const { words } = value;
    this.root.setAttribute("aria-label", words.title);
    this.curve.canvas.setAttribute("aria-label", words.curve);
    this.find(".lv-level span").textContent = words.level;
    this.find("figcaption span").textContent = words.curve;
    this.buildBars();
    this.buildLegend();
    this.showStyle();
    const isListening = this.state === "listening";
    if (isListening) this.session.tell(value.wish);
    this.showBars(isListening && this.curve.latest ? this.curve.latest.scores : null);
    if (!canListen()) this.enter("insecure");
    else if (this.state === "idle") this.enter("idle");
    else this.showButton();
    this.draw();
  }
}

// The template never changes, so that Gradio leaves the canvas alone and the script alone draws the value.
export function mount({ element, props, trigger, watch }) {
  const live = new Live(element.querySelector(".live"), (run) => {
    sessionStorage.setItem("live", run);
    trigger("submit", { run });
  });
  const show = () => live.show(props.value);
  watch("value", show);
  show();
}
