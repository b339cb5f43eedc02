"""One WebSocket: frames, the stream under trio-websocket, the outbox."""
