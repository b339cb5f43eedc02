"""How long the event loop is held."""

import trio
import trio.testing

from trio_chat.lag import BOUNDS, LoopLag

from .peers import ask, serving


def test_turns_are_counted_by_their_length() -> None:
    """Each falls into the first bucket that holds it, the wait between two turns into none."""
    now = 0.0
    lag = LoopLag(lambda: now)
    lag.before_io_wait(0.0)  # the turn had begun before anybody looked
    for held in (0.0004, 0.0009, 0.0011, 0.02, 5.0):
        now += 100.0
        lag.after_io_wait(0.0)
        now += held
        lag.before_io_wait(0.0)
    by_bound = dict(zip([*BOUNDS, None], lag.counts, strict=True))
    assert {bound: count for bound, count in by_bound.items() if count} == {
        0.001: 2,
        0.0025: 1,
        0.025: 1,
        None: 1,
    }
    assert abs(lag.seconds - 5.0224) < 1e-9
    assert abs(lag.longest - 5.0) < 1e-9


async def test_a_server_measures_and_exports_its_loop() -> None:
    """Turns are counted while it serves, shown at /metrics, and counted no more when it has ended."""
    async with serving() as server:
        body = (await ask(server, "/metrics")).text
        assert 'trio_chat_loop_turn_seconds_bucket{le="0.01"}' in body
        lag = server.lag
        assert sum(lag.counts) > 0
    counted = sum(lag.counts)
    await trio.testing.wait_all_tasks_blocked()
    assert sum(lag.counts) == counted
