"""Which of the server's tasks there are, in the whole of the Trio run."""

from collections import Counter

import trio

SERVER = ("trio_chat.server.", "trio_chat.door.", "trio_chat.wire.", "trio_chat.chat.", "trio_chat.log.")


def server_tasks() -> Counter[str]:
    """How many tasks of the server's there are, by the name of what they run."""
    found: Counter[str] = Counter()
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        if task.name.startswith(SERVER):
            found[task.name.removeprefix("trio_chat.")] += 1
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks
    return found
