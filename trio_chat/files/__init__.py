"""Files that users share: what they are, and where they are kept. See `trio_chat.files.store`."""
