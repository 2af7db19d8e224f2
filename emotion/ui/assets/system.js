// The tab System asks for a new reading every two seconds while somebody looks.
import { mount as mountPatched } from "./patched.js";

const EVERY_MS = 2000;
const PATIENCE_MS = 20_000; // until an answer that did not come is asked for again

export function mount({ element, trigger, watch, ...rest }) {
  const { inSight } = mountPatched({ element, trigger, watch, ...rest });
  let askedAt = Date.now();
  watch("value", () => { askedAt = 0; });
  const clockwork = setInterval(() => {
    if (!element.isConnected) return clearInterval(clockwork);
    if (!inSight() || document.hidden || Date.now() - askedAt < PATIENCE_MS) return;
    askedAt = Date.now();
    trigger("tick");
  }, EVERY_MS);
}
