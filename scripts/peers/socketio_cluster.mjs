// A peer to measure against: Socket.IO 4 in several processes behind one port, with its Redis Streams adapter.
//
//   PEER_MODULES=DIR node socketio_cluster.mjs --redis redis://127.0.0.1:6379 [--workers N] [--port N]
//
// DIR holds node_modules with `socket.io`, `@socket.io/redis-streams-adapter` and `redis`. WebSocket transport
// alone, so that it doesn't matter which process a connection comes to.
import cluster from "node:cluster";
import { createRequire } from "node:module";
import { createServer } from "node:http";
import path from "node:path";

const require = createRequire(path.join(path.resolve(process.env.PEER_MODULES ?? "."), "peer.js"));
const argv = process.argv.slice(2);
const option = (name, otherwise) => (argv.includes(name) ? argv[argv.indexOf(name) + 1] : otherwise);

if (cluster.isPrimary) {
  const count = Number(option("--workers", "2"));
  let listening = 0;
  for (let i = 0; i < count; i++) cluster.fork();
  cluster.on("listening", (worker, address) => {
    listening += 1;
    if (listening === count) console.log(`peer serving on http://127.0.0.1:${address.port}`);
  });
  process.on("SIGTERM", () => {
    for (const worker of Object.values(cluster.workers)) worker.kill("SIGKILL");
    process.exit(0);
  });
} else {
  const { Server } = require("socket.io");
  const { createAdapter } = require("@socket.io/redis-streams-adapter");
  const { createClient } = require("redis");
  const redis = createClient({ url: option("--redis", "redis://127.0.0.1:6379") });
  await redis.connect();
  const http = createServer();
  const io = new Server(http, {
    transports: ["websocket"],
    serveClient: false,
    perMessageDeflate: false,
    adapter: createAdapter(redis),
  });
  io.engine.on("connection", (raw) => {
    raw.request = null;
  });
  io.on("connection", (socket) => {
    let room;
    socket.on("join", async (name, done) => {
      room = name;
      await socket.join(room);
      done();
    });
    socket.on("message", (text) => io.to(room).emit("message", text));
  });
  http.listen({ port: Number(option("--port", "0")), host: "127.0.0.1", backlog: 4096 });
}
