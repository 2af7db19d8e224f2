// Sound as the server takes it: pieces of 16-bit mono, each with its level.
export const PIECES_PER_S = 10;

export const toInt16 = (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));

// Collects blocks of channels, and gives each piece of a tenth of a second to `done`.
export class Pieces {
  constructor(rate_hz, done) {
    this.length = Math.round(rate_hz / PIECES_PER_S);
    this.done = done;
    this.begin();
  }

  begin() {
    this.piece = new Int16Array(this.length);
    this.filled = 0;
    this.power = 0;
  }

  // Channels are Float32Arrays of one length; none come while there is no source.
  add(channels) {
    for (let i = 0; i < (channels[0]?.length || 0); i += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[i] / channels.length;
      this.power += sample * sample;
      this.piece[this.filled] = toInt16(sample);
      this.filled += 1;
      if (this.filled === this.length) this.flush();
    }
  }

  // Gives what there is of a piece.
  flush() {
    if (!this.filled) return;
    const level_db = 10 * Math.log10(this.power / this.filled + 1e-12);
    const { piece, filled } = this;
    this.begin();
    this.done({ sound: piece.slice(0, filled).buffer, level_db });
  }
}
