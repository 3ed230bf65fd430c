// A WebSocket with no client on top, for what no well-behaved client sends.

import WebSocket from "ws";
import { shown } from "./bytes.mjs";

export async function openRaw({ url, protocols = [], headers = {} }, events) {
  const socket = new WebSocket(url, protocols, { headers });
  socket.on("close", (code, reason) => events("closed", { code, reason: reason.toString() }));
  socket.on("message", (data, binary) => events("frame", { binary, payload: binary ? { $hex: data.toString("hex") } : shown(data) }));
  await new Promise((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("error", reject);
    socket.on("unexpected-response", (request, response) => {
      let body = "";
      response.on("data", (chunk) => { body += chunk; });
      response.on("end", () => reject(Object.assign(new Error(body), { code: response.statusCode })));
    });
  });
  return {
    opened: { protocol: socket.protocol },
    send: async ({ payload }) => socket.send(payload?.$hex === undefined ? payload : Buffer.from(payload.$hex, "hex")),
    close: async () => socket.close(1000),
  };
}
