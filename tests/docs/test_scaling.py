"""docs/scaling.md: the configurations that it shows work, with several nodes and a real Redis."""

import re
import shutil
from pathlib import Path

import pytest
import trio
from log.redis_server import BINARY, MISSING, RedisServer

import trio_chat

from .page import Page
from .test_operations import free_port, reachable, start_proxy, status

PAGE = Page("scaling.md")
DOCS = Path(__file__).resolve().parents[2] / "docs"


def proxy_config(name: str, listen: int, nodes: list[int], directory: Path) -> tuple[str, str]:
    """The page's configuration as a whole one without TLS: its text, and the command that runs it."""
    (block,) = PAGE.blocks(name)
    text = block.text
    for shown, port in zip(("127.0.0.1:8081", "127.0.0.1:8082"), nodes, strict=True):
        assert shown in text
        text = text.replace(shown, f"127.0.0.1:{port}")
    if name == "haproxy":
        return re.sub(r"bind .*", f"bind 127.0.0.1:{listen}", text), "haproxy -db -f {file}"
    text = re.sub(r"^ *(ssl_certificate|server_name).*\n", "", text, flags=re.MULTILINE)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{listen};")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    head = f"daemon off; pid {directory}/pid; error_log stderr;\nevents {{}}\n"
    return f"{head}http {{ access_log off;\n{places}{text} }}\n", "nginx -e stderr -c {file}"


@pytest.mark.skipif(BINARY is None, reason=MISSING)
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_several_nodes_behind_a_proxy_are_one_chat(
    name: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    """Clients come to both nodes and hear each other; when one drains, all go on with the other."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    redis_server.ask("FLUSHALL")
    listen, ports = free_port(), [free_port(), free_port()]
    text, command = proxy_config(name, listen, ports, tmp_path)
    file = tmp_path / "proxy.conf"
    file.write_text(text)
    url = f"http://127.0.0.1:{listen}"
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            servers = []
            for port in ports:
                config = trio_chat.Config(
                    port=port, log=redis_server.url, trusted_proxy=("127.0.0.1",), files=str(tmp_path / "f")
                )

                async def serve(
                    config: trio_chat.Config = config,
                    task_status: trio.TaskStatus[trio_chat.Server] = trio.TASK_STATUS_IGNORED,
                ) -> None:
                    await trio_chat.serve(config, task_status=task_status)

                servers.append(await nursery.start(serve))
            arguments = command.format(file=file).split()
            process = await nursery.start(start_proxy, arguments, {"HOME": str(tmp_path)})
            await reachable(listen)
            async with (
                trio_chat.open_client(url, "ann", patient=True) as ann,
                trio_chat.open_client(url, "bob", patient=True) as bob,
                ann.join("lobby") as anns,
                bob.join("lobby") as bobs,
            ):
                assert [len(server.connections) for server in servers] == [1, 1]
                said = await anns.say("hello")
                assert (await anext(bobs)).seq == said.seq
                servers[0].stop()
                await bobs.say("still here")
                await anns.say("I too")
                heard = [await anext(bobs) for _ in range(2)]
                assert [getattr(event, "text", "") for event in heard] == ["still here", "I too"]
            for _ in range(4):
                assert await status(listen, {"Origin": url}) == 101
            process.terminate()
            nursery.cancel_scope.cancel()


def test_its_links_lead_somewhere() -> None:
    """Each link to another page names a heading that is there."""
    for file, anchor in re.findall(r"\]\(([a-z]+\.md)(?:#([a-z-]+))?\)", PAGE.text):
        titles = re.findall(r"^#+ (.*)$", (DOCS / file).read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, (file, anchor)
