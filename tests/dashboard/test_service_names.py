"""Settings whose names differ between the Machines API and fly.toml."""

from __future__ import annotations

from tests.dashboard.harness import AMS, Harness


async def test_a_service_has_the_api_names_of_autostop_and_autostart(harness: Harness) -> None:
    """F-9.17, X-8"""
    machine = (await harness.client.get(f"/v1/apps/chat/machines/{AMS}")).json()
    (service,) = machine["config"]["services"]
    assert (service["autostop"], service["autostart"]) == ("off", True)
    assert not {"auto_stop_machines", "auto_start_machines"} & set(service)
