"""Turns: who gets a step when, and how large it is."""

import trio
from trio.testing import wait_all_tasks_blocked

from trio_chat.chat.turns import STEP_SECONDS, Steps, Turns


async def test_work_is_done_in_rotation_one_step_a_turn() -> None:
    """A short piece that comes while a long one is under way waits for a step of it and not for its end."""
    done: list[str] = []
    turns = Turns()

    def work(name: str, steps: int) -> Steps:
        for _ in range(steps):
            done.append(name)
            yield 1, 10

    async def count_turns() -> None:
        while True:
            done.append(".")
            await trio.lowlevel.checkpoint()

    turns.add(work("long", 5))
    turns.add(work("short", 2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        nursery.start_soon(count_turns)
        while done.count("long") < 5:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    steps = [each for each in done if each != "."]
    assert steps == ["long", "short", "long", "short", "long", "long", "long"]
    assert done.count(".") >= len(steps) - 1


async def test_work_that_comes_later_is_done_too() -> None:
    """The task sleeps while there is nothing to do."""
    turns = Turns()
    done = []

    def work(name: str) -> Steps:
        done.append(name)
        yield 0, 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        for name in ("a", "b"):
            await wait_all_tasks_blocked()
            turns.add(work(name))
            await wait_all_tasks_blocked()
            assert done[-1] == name
        nursery.cancel_scope.cancel()


def test_the_size_of_a_step_follows_what_writes_cost() -> None:
    """Dear writes make steps small, but never tiny; cheap ones make them large, but never boundless."""
    turns = Turns()
    first = turns.writes(100)
    assert abs(first * 5e-6 - STEP_SECONDS) < 0.1 * STEP_SECONDS
    for _ in range(50):
        turns._learn(100, 100, 100 * 20e-6)
    assert abs(turns.writes(100) * 20e-6 - STEP_SECONDS) < 0.1 * STEP_SECONDS
    for _ in range(50):
        turns._learn(100, 100, 10.0)
    assert 20 <= turns.writes(100) <= 30
    for _ in range(50):
        turns._learn(100, 100, 0.0)
    assert turns.writes(100) <= 600
    turns._learn(1, 100, 10.0)  # too little to learn from
    assert turns.writes(100) >= 500
    assert turns.writes(10_000_000) == 16
