// Numbers as people read them; the same forms as emotion/formatting.py has.

const two = (number) => String(number).padStart(2, "0");

function clockOf(seconds, fraction) {
  const minutes = Math.floor(seconds / 60);
  const end = two(seconds % 60) + fraction;
  return minutes < 60 ? `${minutes}:${end}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${end}`;
}

// `0:12.8`, from an hour on `1:02:12.8`; rounded to tenths.
export function clock(time_s) {
  const tenths = Math.round(time_s * 10);
  return clockOf(Math.floor(tenths / 10), `.${tenths % 10}`);
}

// `0:12`, for a clock that runs: a second is shown when it is over.
export const wholeClock = (time_s) => clockOf(Math.floor(time_s), "");

export function size(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${Math.max(Math.round(bytes / 1e6), 1)} MB`;
}

export const percent = (share) => `${(share * 100).toFixed(1)}%`;

// A text with its {names} replaced by values.
export const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

export const clamp = (number, low, high) => Math.min(Math.max(number, low), high);
