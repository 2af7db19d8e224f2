// One session of the live tab: sound goes over a web socket, and what the server says of it comes back.
import { PIECES_PER_S } from "./live_pieces.js";
import { Microphone } from "./live_microphone.js";

const MUTED_AFTER_S = 3;
const MUTED_DB = -119; // a microphone that is switched off gives zeros
const TROUBLES = {
  NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing", OverconstrainedError: "missing",
};

// What is wrong with a microphone that cannot be opened.
export const troubleOf = (fault) => TROUBLES[fault.name] || "occupied";

// Where the server listens, for a page at this address.
export function socketAddress(page) {
  const address = new URL("live", page);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.search = address.hash = "";
  return address;
}

// `view` is told of everything: asked() when the microphone may be used, message(said) for what the server says,
// piece(level_db) for each piece that was sent, gone() for a microphone that ended, trouble(name) for one that cannot
// be opened, lost() for a connection that ended by itself.
export class LiveSession {
  constructor(view) {
    this.view = view;
    this.microphone = new Microphone();
    this.socket = null;
    this.hasEnded = false;
    this.heard_s = 0; // how much of the microphone was sent
    this.muted_s = 0;
  }

  get isMuted() {
    return this.muted_s > MUTED_AFTER_S;
  }

  // `greeting()` is what the server has to know first.
  async start(greeting) {
    try {
      await this.microphone.ask();
      if (!this.hasEnded) {
        this.view.asked();
        await this.microphone.prepare();
      }
      if (this.hasEnded) this.microphone.release();
      else this.connect(greeting);
    } catch (fault) {
      if (this.hasEnded) return;
      this.end();
      this.view.trouble(troubleOf(fault));
    }
  }

  connect(greeting) {
    this.socket = new WebSocket(socketAddress(document.baseURI));
    this.socket.addEventListener("open", () => this.tell({ rate_hz: this.microphone.rate_hz, ...greeting() }));
    this.socket.addEventListener("message", (event) => {
      if (!this.hasEnded) this.view.message(JSON.parse(event.data));
    });
    this.socket.addEventListener("close", () => {
      if (this.hasEnded) return;
      this.end();
      this.view.lost();
    });
  }

  listen() {
    this.microphone.open((piece) => this.send(piece), () => this.view.gone());
  }

  send({ sound, level_db }) {
    if (this.hasEnded || this.socket.readyState !== WebSocket.OPEN) return;
    this.heard_s += sound.byteLength / 2 / this.microphone.rate_hz;
    this.muted_s = level_db > MUTED_DB ? 0 : this.muted_s + 1 / PIECES_PER_S;
    this.socket.send(sound);
    this.view.piece(level_db);
  }

  tell(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // The last piece goes first.
  async stop(wish) {
    await this.microphone.finish();
    this.microphone.release();
    this.tell({ stop: true, ...wish });
  }

  end() {
    this.hasEnded = true;
    this.microphone.release();
    if (this.socket) this.socket.close();
  }
}
