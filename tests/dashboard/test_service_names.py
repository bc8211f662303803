"""How the Machines API names what fly.toml names otherwise."""

from __future__ import annotations

from tests.dashboard.harness import AMS, Harness


async def test_a_service_has_autostop_and_autostart_in_the_words_of_the_api(harness: Harness) -> None:
    """F-9.17, X-8"""
    machine = (await harness.client.get(f"/v1/apps/chat/machines/{AMS}")).json()
    (service,) = machine["config"]["services"]
    assert (service["autostop"], service["autostart"]) == ("off", True)
    assert not {"auto_stop_machines", "auto_start_machines"} & set(service)
