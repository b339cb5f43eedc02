// The browser's socket, clock and chance in the shape that the core asks for. Nothing else.

const SUBPROTOCOL = "trio-chat.v1";

/** `open` for core/connection.js. */
export function opener(address) {
  return (on) => {
    const socket = new WebSocket(address, SUBPROTOCOL);
    socket.onopen = () => on.open();
    socket.onmessage = ({ data }) => typeof data === "string" && on.message(data);
    socket.onclose = ({ code, reason }) => on.close(code, reason);
    return {
      send: (text) => socket.readyState === WebSocket.OPEN && socket.send(text),
      close: (code, reason) => socket.readyState <= WebSocket.OPEN && socket.close(code, reason),
    };
  };
}

export const clock = {
  now: () => Date.now() / 1000,
  after(seconds, run) {
    const timer = setTimeout(run, Math.min(seconds * 1000, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
};

/** 128 random bits; `randomUUID` is absent where the page is not served securely. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
