// One connection that is kept up: opened, watched, and opened again.
//
// Owns the socket's life: when to try, how long to wait, when silence means that it is dead, when to give up.
// Refuses to know what is said over it beyond `bye`, `ping` and `pong`: rooms and messages are chat.js's.
// No DOM and no timers of its own: sockets, clock and chance are handed in, so that a test can be all three.
//
// Rules: close codes up to 4499 mean come back, after the server's `retry_after` if it gave one, else after a
// random time that grows ("full jitter", so that many clients do not come back together). A wait of the first kind
// is ended early by a person only, one of the second also by good news. From 4500 on it stays away and says why. A
// socket that was given up is never listened to again, whatever it still delivers.

export const LIMITS = {
  connect: 12, // seconds from opening to being useful; past it the attempt is given up
  silence: 25, // seconds without a frame before a ping; the server's own heartbeat is 20
  pong: 8, // seconds that an answer to it may take
  probe: 3, // the same when there is a reason to doubt: woken up, network changed
  stable: 10, // seconds that a connection must have lasted for its success to count
  base: 0.5, // the first wait is a random part of this, and each next one of twice as much
  cap: 30, // up to this
  retryAfter: 3600, // the longest wait a server may ask for
};

export const FIRST_FINAL_CODE = 4500;

/** Seconds to wait before attempt number `attempt` (from 0): a random part of a growing time. */
export function backoff(attempt, random) {
  return Math.max(0.1, random() * Math.min(LIMITS.cap, LIMITS.base * 2 ** Math.min(attempt, 16)));
}

export class Connection {
  /**
   * @param open `(on) => socket` with `socket.send(text)`, `socket.close(code, reason)`; `on.open()`,
   *   `on.message(text)` and `on.close(code, reason)` are called back, never before `open` has returned
   * @param clock `{now(), after(seconds, run) => cancel}`
   * @param on `{open(), frame(frame), lost(code), state(status)}`
   */
  constructor({ open, clock, random = Math.random, on }) {
    Object.assign(this, { openSocket: open, clock, random, on });
    this.status = { state: "idle" };
    this.socket = null;
    this.network = true;
    this.wasUp = false; // has been of use once: what fails before that was never a connection that could be lost
    this.attempt = 0;
    this.timers = {};
    this.farewell = null;
  }

  start() {
    if (this.socket || this.status.state === "connecting") return;
    this.#clearTimers();
    this.farewell = null;
    this.#enter({ state: "connecting", attempt: this.attempt, first: !this.wasUp });
    let socket = null;
    const live = () => socket !== null && this.socket === socket;
    const on = {
      open: () => live() && this.on.open(),
      message: (text) => live() && this.#message(text),
      close: (code, reason) => live() && this.#lost(code, reason),
    };
    try {
      socket = this.openSocket(on);
    } catch {
      this.#lost(1006, "");
      return;
    }
    this.socket = socket;
    this.#arm("connect", LIMITS.connect, () => this.drop());
  }

  /** Leave for good, until `start`. */
  stop(code = 1000) {
    const socket = this.#forget();
    this.#enter({ state: "idle" });
    socket?.close(code, "");
  }

  /** Stay away because of what the server said, and show it. */
  giveUp(code, reason) {
    const socket = this.#forget();
    this.#enter({ state: "stopped", code, reason });
    socket?.close(1000, "");
  }

  /** The user of the connection has what it needs: it counts as up. */
  ready() {
    if (!this.socket) return;
    this.wasUp = true;
    this.timers.connect?.();
    this.#arm("stable", LIMITS.stable, () => (this.attempt = 0));
    this.#arm("silence", LIMITS.silence, () => this.#ping(LIMITS.pong));
    this.#enter({ state: "online" });
  }

  /** Send an operation; whether there was anything to send it to. */
  send(frame) {
    if (!this.socket) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** Give the connection up and begin the next, after `wait` seconds if that is said. */
  drop(code = 1006, wait = undefined) {
    const { socket } = this;
    if (!socket) return;
    if (wait !== undefined) this.farewell = { code, retry_after: wait };
    this.#lost(code, "");
    socket.close(4000, "");
  }

  /** A person does not want to wait any longer. */
  retryNow() {
    if (!this.socket) this.start();
  }

  /** There is a reason to hope. */
  #retrySoon() {
    const { asked, retryAt } = this.status;
    if (!asked || this.clock.now() >= retryAt) this.retryNow(); // while a device sleeps, so do its timers
  }

  /** There is a reason to doubt that the other side is still there. */
  probe() {
    if (this.status.state === "online") this.#ping(LIMITS.probe);
    else if (this.status.state === "waiting") this.#retrySoon();
  }

  /** What the system says about its network. It may be wrong, so a connection is only doubted, not dropped. */
  networkChanged(available) {
    this.network = available;
    if (this.status.state === "online") this.probe();
    else if (this.status.state === "waiting") {
      this.#enter({ ...this.status, offline: !available });
      if (available) this.#retrySoon();
    }
  }

  #message(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame === null || typeof frame !== "object") return;
    this.timers.pong?.();
    if (this.status.state === "online") this.#arm("silence", LIMITS.silence, () => this.#ping(LIMITS.pong));
    if (frame.op === "bye") this.farewell = frame;
    else if (frame.op !== "pong") this.on.frame(frame);
  }

  #ping(patience) {
    if (!this.send({ op: "ping" })) return;
    this.#arm("pong", patience, () => this.drop());
  }

  #lost(code, reason) {
    this.#forget();
    const said = this.farewell;
    const final = said && said.code >= FIRST_FINAL_CODE ? said.code : code;
    this.on.lost(code);
    if (final >= FIRST_FINAL_CODE) {
      this.#enter({ state: "stopped", code: final, reason: said?.reason || reason || "" });
      return;
    }
    const asked = typeof said?.retry_after === "number" && said.retry_after >= 0;
    const wait = asked ? Math.min(said.retry_after, LIMITS.retryAfter) : backoff(this.attempt, this.random);
    this.attempt += 1;
    this.#enter({
      state: "waiting", retryAt: this.clock.now() + wait, asked, offline: !this.network, attempt: this.attempt, first: !this.wasUp,
    });
    this.#arm("retry", wait, () => this.start());
  }

  #forget() {
    const { socket } = this;
    this.socket = null;
    this.#clearTimers();
    return socket;
  }

  #arm(name, seconds, run) {
    this.timers[name]?.();
    this.timers[name] = this.clock.after(seconds, run);
  }

  #clearTimers() {
    for (const cancel of Object.values(this.timers)) cancel();
    this.timers = {};
  }

  #enter(status) {
    this.status = status;
    this.on.state(status);
  }
}
