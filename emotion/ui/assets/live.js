// The live microphone: sound goes over a web socket, and the emotion of the last seconds comes back. Runs as
// `js_on_load` of its gr.HTML, which gives `element`, `props`, `trigger` and `watch`; `props.value` is what `live_value`
// of emotion/ui/live_socket.py makes, or null. When a session is saved, it triggers 'submit' with the name of the run,
// which stays in the session storage as `live`. `data-live` of the body says what the rest of the page has to know: `on`
// while somebody is listened to, `saving` until whoever shows the run says `off`.
const root = element.querySelector(".live");
const find = (selector) => root.querySelector(selector);
const button = find(".lv-switch");
const card = find(".lv-card");
const canvas = find("canvas");
const pen = canvas.getContext("2d");
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
// The curve is as wide as what was heard, within these bounds.
const SPANS_S = [20, 60];
const PIECES_PER_S = 10;
const SLOW = 1.25;
const MUTED_AFTER_S = 3;
const QUIETEST_DB = -60;
const LAST_PIECE_MS = 300;
const TICK_ROOM = 78;
const TROUBLES = ["denied", "missing", "occupied", "insecure", "unreachable", "lost", "error"];

// Runs on the audio thread. Nothing is put out, so the speakers stay silent.
const WORKLET = `
registerProcessor("pieces", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.begin();
    this.port.onmessage = () => {
      if (this.filled) this.send();
      this.port.postMessage(null);
    };
  }
  begin() {
    this.piece = new Int16Array(Math.round(sampleRate / ${PIECES_PER_S}));
    this.filled = 0;
    this.power = 0;
  }
  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[i] / channels.length;
      this.power += sample * sample;
      this.piece[this.filled] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      this.filled += 1;
      if (this.filled === this.piece.length) this.send();
    }
    return true;
  }
  send() {
    const level_db = 10 * Math.log10(this.power / this.filled + 1e-12);
    const sound = this.piece.slice(0, this.filled).buffer;
    this.port.postMessage({ sound, level_db }, [sound]);
    this.begin();
  }
});`;

let value = null;
let state = "idle";
let style = "bands";
let session = null; // the microphone, the socket and the clock of the session that runs
let moments = [];
let heard_s = 0; // how much of the microphone was sent
let every_s = 0.5;
let drawn_s = 0; // the time at the right end of the curve, and how long the curve is
let span_s = SPANS_S[0];

const isRunning = () => ["asking", "connecting", "listening"].includes(state);
const percent = (share) => (share * 100).toFixed(1) + "%";
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function clock(time_s) {
  const seconds = Math.floor(time_s);
  const rest = String(seconds % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + ":" + rest;
  return Math.floor(minutes / 60) + ":" + String(minutes % 60).padStart(2, "0") + ":" + rest;
}

// ---- states ----
function enter(name, hint) {
  state = name;
  document.body.dataset.live = isRunning() ? "on" : name === "finishing" || name === "saved" ? "saving" : "off";
  showHeadline(value.words[name + "_title"]);
  showHint(hint === undefined ? value.words[name + "_hint"] || "" : hint);
  card.classList.toggle("heard", false);
  card.classList.toggle("trouble", TROUBLES.includes(name));
  showButton();
  if (isRunning()) return;
  showLevel(QUIETEST_DB);
  showBars(null);
  find(".lv-pace").textContent = "";
}

function showButton() {
  button.textContent = value.words[state === "listening" ? "stop" : isRunning() ? "cancel" : "start"];
  button.classList.toggle("stops", isRunning());
  button.disabled = state === "finishing" || state === "insecure";
}

// A screen reader reads the headline when it changes, so it is only touched when it does.
function showHeadline(text, emoji) {
  const headline = find(".headline");
  if (headline.dataset.said === (emoji || "") + text) return;
  headline.dataset.said = (emoji || "") + text;
  headline.replaceChildren();
  if (emoji) line(headline, "i", emoji, "emoji").setAttribute("aria-hidden", "true");
  headline.append(emoji ? " " + text : text);
}

function showHint(text) {
  find(".confidence").textContent = text;
}

function line(parent, tag, text, kind) {
  const child = document.createElement(tag);
  child.textContent = text;
  if (kind) child.className = kind;
  parent.append(child);
  return child;
}

// ---- the session ----
function start() {
  session = { socket: null, stream: null, context: null, ended: false };
  moments = [];
  heard_s = 0;
  drawn_s = 0;
  showBars(null);
  find(".lv-pace").textContent = "";
  find(".lv-clock").textContent = clock(0);
  enter("asking");
  draw();
  listen(session).catch((fault) => fail(session, fault));
}

async function listen(mine) {
  // As the microphone hears it: what browsers do to voices for calls changes the emotion in them.
  const sound = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  mine.stream = await navigator.mediaDevices.getUserMedia({ audio: sound });
  if (mine.ended) return release(mine);
  enter("connecting");
  mine.context = new AudioContext();
  const worklet = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  try {
    await mine.context.audioWorklet.addModule(worklet);
  } finally {
    URL.revokeObjectURL(worklet);
  }
  if (mine.ended) return release(mine);
  await mine.context.resume();
  // A phone that falls asleep closes the microphone.
  if (navigator.wakeLock) mine.awake = await navigator.wakeLock.request("screen").catch(() => null);
  if (mine.ended) return release(mine);
  connect(mine);
}

function connect(mine) {
  const address = new URL("live", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.search = address.hash = "";
  mine.socket = new WebSocket(address);
  mine.socket.addEventListener("open", () => {
    const hello = { rate_hz: mine.context.sampleRate, language: value.language, ...value.wish };
    tell(mine, hello);
  });
  mine.socket.addEventListener("message", (event) => mine === session && hear(mine, JSON.parse(event.data)));
  mine.socket.addEventListener("close", () => lose(mine));
}

// What the server says.
function hear(mine, message) {
  if (message.ready) {
    every_s = message.every_s;
    showLabels(message.labels);
    openMicrophone(mine);
    enter("listening");
  } else if (message.labels) {
    showLabels(message.labels); // another model answers
  } else if ("time_s" in message) {
    if (state === "listening") showMoment(message);
  } else if ("finishing" in message) {
    const share = filled(value.words.finishing_share, { percent: percent(message.finishing) });
    if (state !== "finishing") { // the recording is as long as it may be
      release(mine);
      enter("finishing");
    }
    if (message.finishing > 0) showHint(share);
  } else if (message.run) {
    end(mine);
    enter("saved", filled(message.is_full ? value.words.full_hint : value.words.saved_hint, { run: message.run }));
    sessionStorage.setItem("live", message.run);
    trigger("submit", { run: message.run });
  } else if (message.error) {
    end(mine);
    enter("error", message.error);
  }
}

function openMicrophone(mine) {
  const source = mine.context.createMediaStreamSource(mine.stream);
  mine.pieces = new AudioWorkletNode(mine.context, "pieces");
  mine.pieces.port.onmessage = ({ data }) => (data ? sendPiece(mine, data) : mine.allSent());
  source.connect(mine.pieces).connect(mine.context.destination);
  // Pulled out or switched off: what was heard is saved.
  mine.stream.getAudioTracks()[0].addEventListener("ended", () => state === "listening" && stop());
}

function sendPiece(mine, { sound, level_db }) {
  if (mine !== session || mine.socket.readyState !== WebSocket.OPEN) return;
  mine.socket.send(sound);
  if (state !== "listening") return; // the last piece
  if (!root.isConnected) { // the page was rebuilt around this component
    stop();
    return;
  }
  heard_s += sound.byteLength / 2 / mine.context.sampleRate;
  mine.muted_s = level_db > -119 ? 0 : (mine.muted_s || 0) + 1 / PIECES_PER_S;
  showLevel(level_db);
  find(".lv-clock").textContent = clock(heard_s);
  if (mine.muted_s > MUTED_AFTER_S) showHint(value.words.muted_hint);
  if (!calm.matches) draw();
}

function stop() {
  if (state !== "listening") { // nothing was heard yet
    end(session);
    enter("idle");
    return;
  }
  enter("finishing");
  sayStop(session);
}

// The last piece goes first; an audio thread that is gone has none.
async function sayStop(mine) {
  await new Promise((resolve) => {
    mine.allSent = resolve;
    setTimeout(resolve, LAST_PIECE_MS);
    mine.pieces.port.postMessage("last");
  });
  release(mine);
  tell(mine, { stop: true, ...value.wish });
}

function tell(mine, message) {
  if (mine.socket.readyState === WebSocket.OPEN) mine.socket.send(JSON.stringify(message));
}

function release(mine) {
  if (mine.stream) mine.stream.getTracks().forEach((track) => track.stop());
  if (mine.context && mine.context.state !== "closed") mine.context.close();
  if (mine.awake) mine.awake.release();
}

function end(mine) {
  mine.ended = true;
  release(mine);
  if (mine.socket) mine.socket.close();
}

function lose(mine) {
  if (mine.ended || mine !== session) return;
  const before = state;
  end(mine);
  if (before === "connecting") enter("unreachable");
  else enter("lost", value.wish.keep_audio || before === "finishing" ? value.words.lost_hint : value.words.lost_unkept_hint);
}

function fail(mine, fault) {
  if (mine.ended) return;
  end(mine);
  const known = { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing", OverconstrainedError: "missing" };
  enter(known[fault.name] || "occupied");
}

// ---- what is shown ----
function showMoment(moment) {
  moments.push(moment);
  while (moments.length && moments[0].time_s < moment.time_s - SPANS_S[1] - 10) moments.shift();
  card.classList.toggle("heard", Boolean(moment.scores));
  if (moment.scores) {
    const label = value.labels.find((each) => each.key === moment.emotion);
    const [emoji, ...name] = label.headline.split(" ");
    showHeadline(name.join(" "), emoji);
    showHint(filled(value.words.confidence, { percent: percent(moment.confidence) }));
  } else {
    const kind = moment.is_silent ? "silence" : "no_answer";
    showHeadline(value.words[kind]);
    if (!(session.muted_s > MUTED_AFTER_S)) showHint(value.words[kind + "_hint"]);
  }
  showBars(moment.scores);
  showPace(moment.interval_s);
  draw();
}

function showPace(interval_s) {
  const slow = interval_s > every_s * SLOW;
  find(".lv-pace").textContent = filled(value.words[slow ? "pace_slow" : "pace"], { seconds: interval_s.toFixed(1) });
}

function showLevel(level_db) {
  const share = Math.max(0, Math.min(1, 1 - level_db / QUIETEST_DB));
  find(".lv-level i").style.width = (share * 100).toFixed(0) + "%";
}

function showBars(scores) {
  const best = scores && Object.keys(scores).reduce((a, b) => (scores[b] > scores[a] ? b : a));
  value.labels.forEach((label, row) => {
    const bar = find(".bars").children[row];
    const score = scores && !label.untold ? scores[label.key] || 0 : null;
    bar.className = label.untold ? "bar untold" : label.key === best ? "bar best" : "bar";
    const width = ((score || 0) * 100).toFixed(1);
    bar.querySelector(".bar-track i").setAttribute("style", `width:${width}%;--colour:${label.colour}`);
    bar.querySelector(".bar-score").textContent = label.untold ? value.words.untold : score === null ? "–" : score.toFixed(3);
  });
}

function showLabels(labels) {
  value.labels = labels;
  buildBars();
  buildLegend();
  showBars(null);
}

function buildBars() {
  find(".bars").setAttribute("aria-label", value.words.scores);
  find(".bars").replaceChildren(...value.labels.map((label) => {
    const bar = document.createElement("li");
    const name = line(bar, "span", "", "bar-name");
    line(name, "i", label.emoji, "emoji").setAttribute("aria-hidden", "true");
    name.append(label.name);
    const track = line(bar, "span", "", "bar-track");
    track.setAttribute("aria-hidden", "true");
    line(track, "i", "");
    line(bar, "span", "", "bar-score");
    return bar;
  }));
}

function buildLegend() {
  find(".lv-legend").replaceChildren(...value.labels.filter((label) => !label.untold).map((label) => {
    const entry = document.createElement("b");
    entry.style.setProperty("--colour", label.colour);
    entry.append(label.name);
    return entry;
  }));
}

function showStyle() {
  root.querySelectorAll(".lv-styles button").forEach((each) => {
    each.textContent = value.words[each.dataset.style];
    each.setAttribute("aria-pressed", String(each.dataset.style === style));
  });
}

// ---- the curve ----
const themed = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const width = () => canvas.clientWidth;
const bottom = () => canvas.clientHeight - 22;
const toX = (time_s) => width() * (1 - (drawn_s - time_s) / span_s);
const kindOf = (moment) => (moment.scores ? "scores" : moment.is_silent ? "silence" : "none");

function draw() {
  const density = window.devicePixelRatio || 1;
  if (!value || !width()) return;
  const size = [Math.round(width() * density), Math.round(canvas.clientHeight * density)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  drawn_s = Math.max(heard_s, moments.length ? moments[moments.length - 1].time_s : 0);
  span_s = Math.min(Math.max(drawn_s, SPANS_S[0]), SPANS_S[1]);
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, width(), canvas.clientHeight);
  pen.fillStyle = themed("--lv-ground");
  pen.fillRect(0, 0, width(), bottom());
  for (const stretch of stretches()) {
    if (stretch.kind === "silence") drawSilence(stretch);
    if (stretch.kind === "scores") (style === "bands" ? drawBands : drawLines)(stretch.points);
  }
  if (!moments.length) drawHint();
  drawAxis();
}

// Neighbouring moments of one kind, each as the points that its drawing goes through. A moment speaks of the time
// since the one before it.
function stretches() {
  const found = [];
  moments.forEach((moment, i) => {
    const from_s = i ? moments[i - 1].time_s : moment.time_s - every_s;
    const open = found[found.length - 1];
    if (open && open.kind === kindOf(moment)) {
      open.points.push({ time_s: moment.time_s, scores: moment.scores });
    } else {
      const points = [from_s, moment.time_s].map((time_s) => ({ time_s, scores: moment.scores }));
      found.push({ kind: kindOf(moment), points });
    }
  });
  return found.filter(({ points }) => toX(points[points.length - 1].time_s) > 0);
}

function drawBands(points) {
  const below = new Array(points.length).fill(0);
  for (const label of value.labels) {
    pen.beginPath();
    points.forEach((point, k) => pen.lineTo(toX(point.time_s), bottom() * (1 - below[k])));
    for (let k = points.length - 1; k >= 0; k -= 1) {
      below[k] += points[k].scores[label.key] || 0;
      pen.lineTo(toX(points[k].time_s), bottom() * (1 - below[k]));
    }
    pen.closePath();
    pen.fillStyle = label.colour;
    pen.fill();
  }
}

function drawLines(points) {
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  for (const label of value.labels) {
    pen.beginPath();
    points.forEach((point) => {
      pen.lineTo(toX(point.time_s), 2 + (bottom() - 4) * (1 - (point.scores[label.key] || 0)));
    });
    pen.strokeStyle = label.colour;
    if (!label.untold) pen.stroke();
  }
}

function drawSilence({ points }) {
  const left = Math.max(toX(points[0].time_s), 0);
  const right = toX(points[points.length - 1].time_s);
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, right - left, bottom());
  pen.clip();
  pen.strokeStyle = themed("--lv-hatch");
  pen.lineWidth = 3;
  // The hatch hangs on the time, so that it moves with it.
  for (let x = toX(0) % 12 - bottom() - 12; x < right; x += 12) {
    pen.beginPath();
    pen.moveTo(x, bottom());
    pen.lineTo(x + bottom(), 0);
    pen.stroke();
  }
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const room = pen.measureText(value.words.silence).width + 12;
  pen.translate((left + right) / 2, bottom() / 2);
  if (right - left < room) pen.rotate(-Math.PI / 2);
  if (right - left > 20) {
    pen.fillStyle = themed("--lv-ground");
    pen.fillRect(-room / 2, -10, room, 20);
    pen.fillStyle = themed("--lv-muted");
    pen.fillText(value.words.silence, 0, 0);
  }
  pen.restore();
}

function drawHint() {
  pen.font = "14px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillStyle = themed("--lv-muted");
  pen.fillText(value.words.curve_hint, width() / 2, bottom() / 2);
}

function drawAxis() {
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "top";
  const step_s = [5, 10, 20].find((step) => (step / span_s) * width() > TICK_ROOM) || 30;
  for (let ago_s = 0; ago_s <= span_s; ago_s += step_s) {
    const x = Math.min(Math.max(toX(drawn_s - ago_s), 0), width() - 1);
    const text = ago_s ? filled(value.words.ago, { seconds: ago_s }) : value.words.now;
    const room = pen.measureText(text).width / 2;
    pen.fillStyle = themed("--lv-line");
    pen.fillRect(x, bottom(), 1, 5);
    pen.fillStyle = themed("--lv-muted");
    pen.textAlign = "center";
    pen.fillText(text, Math.min(Math.max(x, room), width() - room), bottom() + 7);
  }
}

// ---- a new value: the page was opened, or its language or a wish changed ----
function show() {
  value = props.value ? { ...props.value } : null; // its labels change when another model answers
  root.hidden = !value;
  if (!value) return;
  root.setAttribute("aria-label", value.words.title);
  canvas.setAttribute("aria-label", value.words.curve);
  find(".lv-level span").textContent = value.words.level;
  find("figcaption span").textContent = value.words.curve;
  buildBars();
  buildLegend();
  showStyle();
  if (state === "listening") tell(session, value.wish);
  const latest = moments[moments.length - 1];
  showBars(state === "listening" && latest ? latest.scores : null);
  if (!window.isSecureContext || !navigator.mediaDevices || !window.AudioWorkletNode) enter("insecure");
  else if (state === "idle") enter("idle");
  else showButton();
  draw();
}

button.addEventListener("click", () => (isRunning() ? stop() : start()));
find(".lv-styles").addEventListener("click", (event) => {
  if (!event.target.dataset.style) return;
  style = event.target.dataset.style;
  showStyle();
  draw();
});
new ResizeObserver(draw).observe(canvas);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
watch("value", show);
show();
