"""A process that writes into a log and says what was acknowledged: for the crash tests.

``python writer.py FILE PREFIX [N before|after [KEEP]]``: appends batches to three rooms, and prints a line
``room seq key`` for each event only once it is acknowledged. With N it kills itself before or after the Nth
commit, with KEEP it trims each room to that many events, a few at a time.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count

import trio

from trio_chat.log import open_sqlite_log
from trio_chat.log.base import Append


def _through(die_at: int, when: str) -> Callable[[Callable[[], None]], None]:
    commits = count(1)

    def commit_through(commit: Callable[[], None]) -> None:
        last = next(commits) == die_at
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        commit()
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    return commit_through


async def main(path: str, prefix: str, die_at: str = "0", when: str = "never", keep: str = "0") -> None:
    async with open_sqlite_log(path, sync="normal", commit_through=_through(int(die_at), when)) as log:
        for n in count():
            batch = [
                Append(f"room-{i % 3}", "message", f'"n":{n}}}', f"{prefix}-{n}-{i}")
                for i in range(n % 7 + 1)
            ]
            done = await log.append(batch)
            lines = [f"{each.room} {got.seq} {each.key}\n" for each, got in zip(batch, done, strict=True)]
            os.write(1, "".join(lines).encode())
            if keep != "0":
                for each, got in zip(batch, done, strict=True):
                    await log.trim(each.room, got.seq - int(keep), 5)
                await log.compact()


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
