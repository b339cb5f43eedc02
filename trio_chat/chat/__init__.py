"""The chat: schema, session, room, hub, limits."""
