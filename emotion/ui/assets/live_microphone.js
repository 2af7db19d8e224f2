// The microphone of one session, in pieces.

const LAST_PIECE_MS = 300;
// As the microphone hears it: what browsers do to voices for calls changes the emotion in them.
const SOUND = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export const canListen = () => Boolean(window.isSecureContext && navigator.mediaDevices && window.AudioWorkletNode);

export class Microphone {
  constructor() {
    this.stream = this.context = this.awake = this.pieces = null;
  }

  get rate_hz() {
    return this.context.sampleRate;
  }

  // Asks whoever sits before it. Raises what the browser raises.
  async ask() {
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: SOUND });
  }

  async prepare() {
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("live_worklet.js", import.meta.url));
    await this.context.resume();
    // A phone that falls asleep closes the microphone.
    if (navigator.wakeLock) this.awake = await navigator.wakeLock.request("screen").catch(() => null);
  }

  // From now on `heard` gets the pieces; `gone` is told when the microphone is pulled out or switched off.
  open(heard, gone) {
    const source = this.context.createMediaStreamSource(this.stream);
    this.pieces = new AudioWorkletNode(this.context, "pieces");
    this.pieces.port.onmessage = ({ data }) => (data ? heard(data) : this.allSent?.());
    source.connect(this.pieces).connect(this.context.destination);
    this.stream.getAudioTracks()[0].addEventListener("ended", gone);
  }

  // Has the last piece sent; an audio thread that is gone has none.
  finish() {
    return new Promise((resolve) => {
      this.allSent = resolve;
      setTimeout(resolve, LAST_PIECE_MS);
      this.pieces.port.postMessage("last");
    });
  }

  release() {
    if (this.stream) this.stream.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") this.context.close();
    if (this.awake) this.awake.release();
  }
}
