"""What a request that can't be meant is told, in words that are true."""

import pytest

from trio_chat.chat import rules, schema

OPS = "op: one of ask, away, ban, create, delete, direct, edit, hello, history, invite, join, kick, leave, "
OPS += (
    "mute, ping, react, read, role, rooms, say, search, settings, topic, typing, unban, unmute, unreact, who"
)
HALF = "not text: {} is half of a character, without its other half"
SAID = [
    (b"", "not a JSON object: Input data was truncated"),
    (b'{"op":"ping"', "not a JSON object: Input data was truncated"),
    (b"[" * 100_000, "Expected `object`, got `array`"),
    (b'{"op":"ping","x":' + b"[" * 100_000, "not a JSON object: nested too deeply"),
    (b"{}", "Object missing required field `op`"),
    (b'{"op":"fly"}', OPS),
    (b'{"op":"fly","op":"fly"}', OPS),
    (b'{"op":"ack"}', OPS),
    (b'{"op":"ping","op":"say"}', "op: given twice"),
    (b'{"op":"ping","op":"fly"}', OPS),
    (b'{"op":"edit","room":"a","seq":1,"text":""}', "text: Expected `str` of length >= 1"),
    (
        b'{"op":"say","room":"a","text":"","files":["x"]}',
        "files[0]: Expected `str` matching regex '^[0-9a-f]{64}$'",
    ),
    (b'{"op":"say","text":"x"}', "Object missing required field `room`"),
    (b'{"op":"say","room":"a","text":"\\ud800"}', HALF.format("\\ud800")),
    (b'{"op":"say","room":"a","text":"\\uD83Dx and more of it"}', HALF.format("\\uD83D")),
    (b'{"op":"say","room":"a","text":"\\udc00"}', HALF.format("\\udc00")),
    (b'{"op":"say","room":"a","text":"\\ude00\\ud83d"}', HALF.format("\\ude00")),
    (b'{"op":"say","room":"a","text":"\\ud83d\\ude00\\ud83d"}', HALF.format("\\ud83d")),
    (b'{"op":"say","room":"a","text":"\\ud83d\\u0041"}', HALF.format("\\ud83d")),
    (b'{"op":"ping","id":"\\ud800"}', HALF.format("\\ud800")),
    (b'{"op":"say","text":"\\ud83d\\ude00', "not a JSON object: Input data was truncated"),
    (b'{"op":"say","text":"\\\\ud800', "not a JSON object: Input data was truncated"),
]


@pytest.mark.parametrize(("data", "words"), SAID, ids=lambda value: ascii(value)[:40])
def test_what_cannot_be_decoded_is_described(data: bytes, words: str) -> None:
    """The field, where there is one, and what is wrong."""
    with pytest.raises(rules.NOT_DECODED) as caught:
        schema.decode_client_op(data)
    assert rules.describe(caught.value, data) == words
