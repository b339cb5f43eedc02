// A peer to measure against: Socket.IO 4, WebSocket transport alone; everybody in a room gets every message.
//
//   PEER_MODULES=DIR node socketio.mjs [--port N]
//
// DIR holds node_modules with `socket.io`. A client asks to `join` a room and then sends `message`.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import path from "node:path";

const require = createRequire(path.join(path.resolve(process.env.PEER_MODULES ?? "."), "peer.js"));
const { Server } = require("socket.io");

const argv = process.argv.slice(2);
const port = argv.includes("--port") ? Number(argv[argv.indexOf("--port") + 1]) : 0;

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false, perMessageDeflate: false });
// What its page on memory usage advises: each connection would keep its request otherwise.
io.engine.on("connection", (raw) => {
  raw.request = null;
});
io.on("connection", (socket) => {
  let room;
  socket.on("join", (name, done) => {
    room = name;
    socket.join(room);
    done();
  });
  socket.on("message", (text) => io.to(room).emit("message", text));
});
http.listen({ port, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`peer serving on http://127.0.0.1:${http.address().port}`);
});
process.on("SIGTERM", () => process.exit(0));
