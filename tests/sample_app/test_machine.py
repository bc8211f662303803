"""One machine in its own process: responses, messages, logs and shutdown."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from asyncio import create_subprocess_exec, subprocess
from collections.abc import AsyncIterator
from itertools import pairwise
from time import monotonic

import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from sample_app.serving import listen
from sample_app.settings import SettingError
from tests.sample_app.running import AMS, DFW, RunningApp, next_frame, next_text, read_to_the_end, running_app

FLY = {"FLY_MACHINE_ID": DFW, "FLY_REGION": "dfw", "FLY_VM_MEMORY_MB": "256"}

shares_app = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app() -> AsyncIterator[RunningApp]:
    """Shared by tests that do not change it."""
    async with running_app(**FLY) as app:
        yield app


async def test_a_click_is_logged_in_the_order_of_the_write_up() -> None:
    async with running_app(**FLY) as app, app.client() as client:
        for path in ("/healthz", "/stats", "/static/page.js"):
            assert (await client.get(path)).status_code == 200
        page = await client.get("/", params={"instance": DFW})
        assert page.headers["set-cookie"].startswith(f"fly-machine-id={DFW}; Max-Age=518400; Path=/; ")
        async with app.socket(Cookie=f"fly-machine-id={DFW}"):
            await app.logged("CONNECTED")
        lines = [re.sub(r" \d+(µs|ms)$", " 1ms", line) for line in app.lines]
        assert [line for line in lines[1:] if "iscover" not in line] == [
            f"[info] Correct machine based on parameter {DFW}. Set cookie and let pass.",
            "[info] GET /",
            "[info] Sent 200 in 1ms",
            f"[info] Correct machine based on cookie {DFW}. Let pass.",
            "[info] CONNECTED TO /ws in 1ms",
        ]


async def test_a_request_and_an_upgrade_for_another_machine_are_replayed() -> None:
    """F-1.85, F-1.86: the upgrade gets an ordinary response, and no error is logged."""
    async with running_app(**FLY) as app, app.client() as client:
        response = await client.get("/", params={"instance": AMS})
        assert (response.status_code, response.text) == (307, "redirecting...")
        with pytest.raises(InvalidStatus) as refused:
            await app.socket(Cookie=f"fly-machine-id={AMS}")
        assert refused.value.response.status_code == 307
        assert refused.value.response.headers["fly-replay"] == f"instance={AMS}"
        assert refused.value.response.body == b"redirecting..."
        assert await app.stop() == 0
        assert app.lines[-2:] == [
            f"[info] Incorrect machine {DFW} based on parameter {AMS}. Redirect.",
            f"[info] Incorrect machine {DFW} based on cookie {AMS}. Redirect.",
        ]


@shares_app
async def test_the_page_shows_where_it_is(app: RunningApp) -> None:
    async with app.client() as client:
        page = (await client.get("/")).text
    assert 'data-page-region="dfw">dfw<' in page
    assert f'data-page-machine="{DFW}">{DFW}<' in page
    assert "data-page-memory>256 MB<" in page


async def test_the_page_shows_blank_for_missing_values_and_escapes_the_others() -> None:
    async with running_app(FLY_REGION="<b>&") as app, app.client() as client:
        page = (await client.get("/")).text
        assert 'data-page-machine="blank">blank<' in page
        assert "data-page-memory>blank<" in page
        assert "&lt;b&gt;&amp;" in page
        assert "<b>" not in page


@shares_app
async def test_the_first_message_names_the_machine_and_chat_reaches_all_viewers(app: RunningApp) -> None:
    async with app.socket() as ann, app.socket() as bob:
        hellos = [json.loads(await next_text(viewer)) for viewer in (ann, bob)]
        for hello in hellos:
            assert (hello["type"], hello["machine"], hello["region"]) == ("hello", DFW, "dfw")
            assert hello["creator"] == "Ochre Bittern"
        await ann.send('{"type": "chat", "text": " hello "}')
        line = {"type": "chat", "from": hellos[0]["you"], "text": "hello"}
        assert [json.loads(await next_text(viewer)) for viewer in (ann, bob)] == [line, line]


@shares_app
async def test_frames_are_sent_while_the_viewer_watches(app: RunningApp) -> None:
    async with app.socket() as viewer:
        await next_text(viewer)
        await viewer.send('{"type": "watch"}')
        frames = [await next_frame(viewer) for _ in range(3)]
        numbers = [int.from_bytes(frame[:4], "big") for frame in frames]
        assert all(after > before for before, after in pairwise(numbers)), numbers


@shares_app
@pytest.mark.parametrize(
    "text", ["hello", "[]", "{}", '{"type": "chat", "text": " "}', '{"type": "chat", "text": 1}', b"{}"]
)
async def test_an_invalid_message_gets_an_error_that_names_what_was_expected(
    app: RunningApp, text: str | bytes
) -> None:
    async with app.socket() as viewer:
        await next_text(viewer)
        await viewer.send(text)
        error = json.loads(await next_text(viewer, "error"))
        assert error["text"].startswith('expected {"type": "watch"}')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_closes_sockets_and_ends_well_before_the_kill_timeout_without_a_traceback(
    number: signal.Signals,
) -> None:
    """F-5.37: SIGINT is Fly's default kill signal."""
    async with (
        running_app(**FLY) as app,
        app.socket() as viewer,
        app.client() as kept_alive,
    ):
        await next_text(viewer)
        await viewer.send('{"type": "watch"}')
        await viewer.recv()
        await kept_alive.get(app.url)
        began = monotonic()
        status = await app.stop(number)
        assert monotonic() - began < 4
        assert status == 0
        assert await read_to_the_end(viewer) == 1012
        assert all(line.startswith("[info]") for line in app.lines)


async def test_without_a_host_it_listens_for_the_proxy_and_for_other_machines() -> None:
    """F-8.17: the proxy connects over IPv4, other machines over IPv6."""
    async with running_app(HOST="", **FLY) as app, app.client() as client:
        port = app.url.rpartition(":")[2]
        for host in ("127.0.0.1", *(["[::1]"] if socket.has_dualstack_ipv6() else [])):
            assert (await client.get(f"http://{host}:{port}/healthz")).text == "ok\n"


@pytest.mark.filterwarnings("ignore:unclosed <socket")  # by socket.create_server, if the port is out of range
@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("203.0.113.1", 0)])
def test_an_unusable_listen_address_is_named(host: str, port: int) -> None:
    with pytest.raises(SettingError, match=f"cannot listen on HOST {host}, PORT {port}: "):
        listen(host, port)


async def test_a_failed_start_logs_the_reason_in_one_line() -> None:
    command = (sys.executable, "-m", "sample_app")
    process = await create_subprocess_exec(*command, env={"PORT": "x"}, stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == "sample_app: PORT is 'x', expected an integer such as 8080\n"
