// A clock that only goes when told, and a server's end of a socket: what the core is tested against.

export class FakeClock {
  time = 1_000_000;
  timers = new Set();

  now() {
    return this.time;
  }

  after(seconds, run) {
    const timer = { at: this.time + seconds, run };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  /** Let `seconds` pass, running what falls due in order. */
  advance(seconds) {
    const end = this.time + seconds;
    for (;;) {
      const due = [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers.delete(due);
      this.time = due.at;
      due.run();
    }
    this.time = end;
  }
}

/** The server's ends of all sockets that were opened, newest last. */
export class FakeServer {
  sockets = [];

  open = (on) => {
    const socket = {
      sent: [],
      closed: null,
      send: (text) => socket.sent.push(JSON.parse(text)),
      close: (code, reason) => (socket.closed ??= { code, reason }),
      accept: () => on.open(),
      tell: (frame) => on.message(JSON.stringify(frame)),
      say: (text) => on.message(text),
      end: (code, reason = "") => on.close(code, reason),
      /** Take the frames that were sent since the last time. */
      take: (op) => {
        const found = socket.sent.filter((frame) => op === undefined || frame.op === op);
        socket.sent = socket.sent.filter((frame) => !found.includes(frame));
        return found;
      },
    };
    this.sockets.push(socket);
    return socket;
  };

  get last() {
    return this.sockets.at(-1);
  }
}

export function counter() {
  let count = 0;
  return () => `id-${(count += 1)}`;
}
