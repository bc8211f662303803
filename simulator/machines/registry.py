"""Who is in the machine room: every machine's slot, the fleet that they make up, and the news of each change.

All changes of a machine go through `Roster.change`, so none is ever published late or left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from simulator.clock import Clock
from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.events import (
    Bus,
    FleetChanged,
    MachineHealthChanged,
    MachineLogged,
    MachineStateChanged,
    ProxyLogged,
)
from simulator.machines.backend import Placement
from simulator.machines.machine_record import Slot, slot_of
from simulator.routing.model import App, Fleet, Machine, MachineState


class Roster:
    """The slots of all machines that are not destroyed, in order."""

    def __init__(self, apps: Iterable[App], bus: Bus, clock: Clock) -> None:
        self.fleet = Fleet.of(apps)
        self._bus = bus
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._standing: list[MachineSpec] = []
        self._ever: list[MachineSpec] = []

    def __iter__(self) -> Iterator[Slot]:
        return iter(tuple(self._slots.values()))

    def expect(self, specs: Iterable[MachineSpec]) -> None:
        """These are the machines that `arrange` goes back to."""
        self._standing = list(specs)
        self.arrange()

    @property
    def standing(self) -> tuple[MachineSpec, ...]:
        """The machines that there are unless a scenario does something: those of the config, and who joined them."""
        return tuple(self._standing)

    def arrange(self) -> None:
        """Exactly the standing machines, in their order: those that are here as they are, the others anew."""
        self._ever = list(self._standing)
        self._slots = {spec.id: self._slots.get(spec.id) or slot_of(spec) for spec in self._ever}
        self._publish_fleet(slot.machine for slot in self)

    def add(self, spec: MachineSpec) -> Slot:
        slot = self._slots[spec.id] = slot_of(spec)
        self._ever.append(spec)
        self._publish_fleet(slot.machine for slot in self)
        return slot

    def admit(self, spec: MachineSpec) -> Slot:
        """One that has come to stay, and with it its app, if that is new."""
        if spec.app not in self.fleet.apps:
            self.fleet = self.fleet.with_app(App(spec.app))
        self._standing.append(spec)
        return self.add(spec)

    def dismiss(self, slot: Slot) -> None:
        """One that has left for good."""
        self._standing = [spec for spec in self._standing if spec.id != slot.spec.id]
        self.remove(slot)

    def remove(self, slot: Slot) -> None:
        before = slot.machine
        self._slots.pop(slot.spec.id, None)
        slot.machine = replace(before, state=MachineState.DESTROYED)
        self._publish_fleet(slot.machine for slot in self)
        self._publish_state(before, slot.machine, "")

    @property
    def specs_ever(self) -> tuple[MachineSpec, ...]:
        """Of the machines that are here and of those that were, since the last `arrange`."""
        return tuple(self._ever)

    def get(self, machine_id: str) -> Slot | None:
        return self._slots.get(machine_id)

    def find(self, machine_id: str) -> Slot:
        """Raises InputError, which names all machines, when there is none with this id."""
        slot = self._slots.get(machine_id)
        if slot is None:
            known = ", ".join(f"{slot.spec.id} ({slot.spec.name})" for slot in self)
            raise InputError(f'there is no machine "{machine_id}"', expected=known or "there is none at all")
        return slot

    def find_own(self, machine_id: str, deed: str) -> Slot:
        """Raises InputError also for a machine that flysim only routes to."""
        slot = self.find(machine_id)
        if slot.is_external:
            raise InputError(
                f"machine {slot.spec.name} runs{_whereabouts(slot)} outside flysim, so it cannot be {deed}",
                expected=_own_machine(slot),
            )
        return slot

    def change(
        self,
        slot: Slot,
        state: MachineState | None = None,
        *,
        reason: str = "",
        healthy: bool | None = None,
        cordoned: bool | None = None,
        placement: Placement | None = None,
    ) -> None:
        """Make it so, and tell everyone. A machine that is not started is neither healthy nor examined."""
        before = after = slot.machine
        if placement is not None:
            after = replace(
                after,
                host=placement.host,
                port=placement.port,
                private_ip=placement.private_ip,
                ports=placement.ports,
            )
        if healthy is not None:
            after = replace(after, healthy=healthy)
        if cordoned is not None:
            after = replace(after, cordoned=cordoned)
        if state is not None:
            after = replace(after, state=state, healthy=after.healthy and state is MachineState.STARTED)
        if state in (MachineState.STOPPED, MachineState.STARTED):
            after = replace(after, stopped_at=self._clock.now() if state is MachineState.STOPPED else None)
        if after.state is not MachineState.STARTED:
            slot.stop_examining()
        slot.machine = after
        self._publish_fleet(slot.machine for slot in self)
        self._publish_state(before, after, reason)
        if healthy is not None and before.healthy is not after.healthy:
            self._publish_health(after, reason)

    def tell_line(self, slot: Slot, stream: str, line: str) -> None:
        machine = slot.machine
        slot.tail.append(line)
        self._bus.publish(
            MachineLogged(
                self._clock.now(), machine.id, machine.name, machine.app, machine.region, stream, line
            )
        )

    def tell_problem(self, words: str, slot: Slot | None) -> None:
        """In the proxy's log: a machine may have none yet."""
        app, machine_id, region = (slot.spec.app, slot.spec.id, slot.spec.region) if slot else ("", None, "")
        self._bus.publish(ProxyLogged(self._clock.now(), app, machine_id, region, "warn", words))

    def _publish_fleet(self, machines: Iterable[Machine]) -> None:
        self.fleet = replace(self.fleet, machines=tuple(machines))
        self._bus.publish(FleetChanged(self._clock.now(), self.fleet))

    def _publish_state(self, before: Machine, after: Machine, reason: str) -> None:
        if before.state is not after.state:
            self._bus.publish(
                MachineStateChanged(
                    self._clock.now(),
                    after.id,
                    after.name,
                    after.app,
                    after.region,
                    before.state,
                    after.state,
                    reason,
                )
            )

    def _publish_health(self, machine: Machine, reason: str) -> None:
        self._bus.publish(
            MachineHealthChanged(
                self._clock.now(),
                machine.id,
                machine.name,
                machine.app,
                machine.region,
                machine.healthy,
                reason,
            )
        )


def _whereabouts(slot: Slot) -> str:
    return f" at {slot.spec.url}," if slot.spec.url else ""


def _own_machine(slot: Slot) -> str:
    if slot.spec.lookup:
        return "flysim with access to the Docker engine, which this one has not: see docs/docker.md"
    return "a machine with a `command` or an `image`, which flysim runs itself"
