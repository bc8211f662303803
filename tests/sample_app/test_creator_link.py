"""Route `/creator/<name>`, with a correct and a stale directory."""

from __future__ import annotations

import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from sample_app.creator_link import CreatorLink
from sample_app.directory import Directory, Machine

AMSTERDAM = Machine("d8dd626f379508", "ams", "Rosy Osprey")
DALLAS = Machine("286533db064e58", "dfw", "Ochre Bittern")
SECOND = Machine("4d891ee9b43e08", "dfw", "Silver Ibis")
FLEET = (AMSTERDAM, DALLAS, SECOND)


async def follow(
    path: str,
    own: Machine = AMSTERDAM,
    *,
    copies: bool = False,
    is_guarded: bool = False,
    stale: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    directory = Directory(own)
    for machine in FLEET:
        directory.add(machine)
    parameter = "creator" if copies else "instance"
    link = CreatorLink(directory, parameter=parameter, replays=not copies, is_guarded=is_guarded, stale=stale)
    app = Starlette(routes=[Route("/creator/{name}", link.handle)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://streams") as client:
        return await client.get(path, headers=headers)


async def test_the_host_redirects_the_viewer_to_its_own_page() -> None:
    response = await follow("/creator/ochre-bittern", DALLAS)
    assert (response.status_code, response.headers["location"]) == (303, f"/?instance={DALLAS.id}")


async def test_another_machine_replays_to_the_host(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sample_app")
    response = await follow("/creator/ochre-bittern")
    assert response.headers["fly-replay"] == f"instance={DALLAS.id}"
    assert caplog.messages[0] == (
        f"Incorrect machine {AMSTERDAM.id} based on creator ochre-bittern, who is on {DALLAS.id}. Redirect."
    )


async def test_in_the_copy_design_no_request_is_replayed() -> None:
    response = await follow("/creator/ochre-bittern", copies=True)
    assert response.headers["location"] == f"/?creator={DALLAS.id}"


@pytest.mark.parametrize("stale", [None, "self", "bounce"])
async def test_an_existing_creator_is_found_by_any_directory(stale: str | None) -> None:
    assert (await follow("/creator/ochre-bittern", DALLAS, stale=stale)).status_code == 303


async def test_an_unknown_creator_is_not_found() -> None:
    assert (await follow("/creator/alice")).status_code == 404


@pytest.mark.parametrize("own", FLEET)
async def test_stale_self_every_machine_replays_to_itself(own: Machine) -> None:
    """Row 1 of the failure gallery; the proxy ends it with PA02."""
    response = await follow(
        "/creator/alice", own, stale="self", headers={"fly-replay-src": f"instance={own.id}"}
    )
    assert response.headers["fly-replay"] == f"instance={own.id}"


@pytest.mark.parametrize(("own", "next_one"), [(AMSTERDAM, DALLAS), (DALLAS, AMSTERDAM), (SECOND, AMSTERDAM)])
async def test_stale_bounce_two_machines_replay_to_each_other(own: Machine, next_one: Machine) -> None:
    """Row 2 of the failure gallery."""
    response = await follow("/creator/alice", own, stale="bounce", headers={"fly-replay-src": "instance=x"})
    assert response.headers["fly-replay"] == f"instance={next_one.id}"


@pytest.mark.parametrize("stale", ["self", "bounce"])
async def test_guarded_a_stale_directory_costs_one_replay(stale: str) -> None:
    """F-1.40."""
    first = await follow("/creator/alice", stale=stale, is_guarded=True)
    assert "fly-replay" in first.headers
    second = await follow(
        "/creator/alice", stale=stale, is_guarded=True, headers={"fly-replay-src": "instance=x"}
    )
    assert second.status_code == 404
