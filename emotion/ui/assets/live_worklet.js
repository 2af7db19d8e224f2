// Runs on the audio thread. Nothing is put out, so the speakers stay silent. Any message asks for the last piece, after
// which null comes back.
import { Pieces } from "./live_pieces.js";

registerProcessor("pieces", class extends AudioWorkletProcessor {
  constructor() {
    super();
    const pieces = new Pieces(sampleRate, (piece) => this.port.postMessage(piece, [piece.sound]));
    this.process = ([channels]) => {
      pieces.add(channels);
      return true;
    };
    this.port.onmessage = () => {
      pieces.flush();
      this.port.postMessage(null);
    };
  }
});
