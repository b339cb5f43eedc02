// A peer to measure against: Node's `ws`, a loop over the clients; everybody whose path is the same gets every message.
//
//   PEER_MODULES=DIR node node_ws.mjs [--port N] [--echo] [--deflate] [--tls CHAIN KEY]
//
// DIR holds node_modules with `ws`, and `bufferutil`, which it uses by itself. With --echo a message goes back to its sender only; with --deflate every
// message is compressed for clients that offer it; CHAIN and KEY are PEM files.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { readFileSync } from "node:fs";
import path from "node:path";

const require = createRequire(path.join(path.resolve(process.env.PEER_MODULES ?? "."), "peer.js"));
const { WebSocket, WebSocketServer } = require("ws");

const argv = process.argv.slice(2);
const port = argv.includes("--port") ? Number(argv[argv.indexOf("--port") + 1]) : 0;
const echo = argv.includes("--echo");

const perMessageDeflate = argv.includes("--deflate") && { threshold: 0 };
const tls = argv.includes("--tls") && argv.slice(argv.indexOf("--tls") + 1);
const http = tls
  ? createSecureServer({ cert: readFileSync(tls[0]), key: readFileSync(tls[1]) })
  : createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate, maxPayload: 2 << 20, clientTracking: false });
const rooms = new Map();
server.on("connection", (socket, { url }) => {
  if (!rooms.has(url)) rooms.set(url, new Set());
  const room = rooms.get(url).add(socket);
  socket.on("close", () => room.delete(socket));
  socket.on("error", () => socket.terminate());
  socket.on("message", (data, binary) => {
    if (echo) {
      socket.send(data, { binary });
      return;
    }
    for (const client of room) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
    }
  });
});
http.listen({ port, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`peer serving on ${tls ? "https" : "http"}://127.0.0.1:${http.address().port}`);
});
process.on("SIGTERM", () => process.exit(0));
