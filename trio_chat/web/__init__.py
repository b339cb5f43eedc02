"""The web client's files; `trio_chat.front.static` serves them."""
