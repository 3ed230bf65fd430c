// Payloads between the tests and the clients: bytes are {"$hex": "00ff"}.

export const isBytes = (v) => v instanceof Uint8Array || v instanceof ArrayBuffer;

export const hex = (bytes) => ({ $hex: Buffer.from(bytes).toString("hex") });

/** Bytes as text if they are UTF-8, else as {"$hex"}. */
export function shown(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return hex(bytes);
  }
}

/** Replaces what leaf(value) answers for, everywhere in a value. */
export function replace(value, leaf) {
  const replaced = leaf(value);
  if (replaced !== undefined) return replaced;
  if (Array.isArray(value)) return value.map((v) => replace(v, leaf));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, replace(v, leaf)]));
  }
  return value;
}

/** Publishes count numbered messages, at most window of them unanswered. */
export async function burst(count, window, publish) {
  const waiting = new Set();
  for (let i = 0; i < count; i++) {
    const one = Promise.resolve(publish(i)).finally(() => waiting.delete(one));
    waiting.add(one);
    if (waiting.size >= window) await Promise.race(waiting);
  }
  await Promise.all(waiting);
}
