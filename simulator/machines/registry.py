"""Who is in the machine room: every machine's slot, the fleet that they make up, and the news of each change.

All changes of a machine go through `MachineRegistry.change`, so none is ever published late or left out.
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
from simulator.machines.machine_record import MachineRecord, make_record
from simulator.routing.model import App, Fleet, Machine, MachineState


class MachineRegistry:
    """The slots of all machines that are not destroyed, in order."""

    def __init__(self, apps: Iterable[App], bus: Bus, clock: Clock) -> None:
        self.fleet = Fleet.of(apps)
        self._bus = bus
        self._clock = clock
        self._records: dict[str, MachineRecord] = {}
        self._standing: list[MachineSpec] = []
        self._ever: list[MachineSpec] = []

    def __iter__(self) -> Iterator[MachineRecord]:
        return iter(tuple(self._records.values()))

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
        self._records = {spec.id: self._records.get(spec.id) or make_record(spec) for spec in self._ever}
        self._publish_fleet(record.machine for record in self)

    def add(self, spec: MachineSpec) -> MachineRecord:
        record = self._records[spec.id] = make_record(spec)
        self._ever.append(spec)
        self._publish_fleet(record.machine for record in self)
        return record

    def admit(self, spec: MachineSpec) -> MachineRecord:
        """One that has come to stay, and with it its app, if that is new."""
        if spec.app not in self.fleet.apps:
            self.fleet = self.fleet.with_app(App(spec.app))
        self._standing.append(spec)
        return self.add(spec)

    def dismiss(self, record: MachineRecord) -> None:
        """One that has left for good."""
        self._standing = [spec for spec in self._standing if spec.id != record.spec.id]
        self.remove(record)

    def remove(self, record: MachineRecord) -> None:
        before = record.machine
        self._records.pop(record.spec.id, None)
        record.machine = replace(before, state=MachineState.DESTROYED)
        self._publish_fleet(record.machine for record in self)
        self._publish_state(before, record.machine, "")

    @property
    def specs_ever(self) -> tuple[MachineSpec, ...]:
        """Of the machines that are here and of those that were, since the last `arrange`."""
        return tuple(self._ever)

    def get(self, machine_id: str) -> MachineRecord | None:
        return self._records.get(machine_id)

    def find(self, machine_id: str) -> MachineRecord:
        """Raises InputError, which names all machines, when there is none with this id."""
        record = self._records.get(machine_id)
        if record is None:
            known = ", ".join(f"{record.spec.id} ({record.spec.name})" for record in self)
            raise InputError(f'there is no machine "{machine_id}"', expected=known or "there is none at all")
        return record

    def find_own(self, machine_id: str, deed: str) -> MachineRecord:
        """Raises InputError also for a machine that flysim only routes to."""
        record = self.find(machine_id)
        if record.is_external:
            raise InputError(
                f"machine {record.spec.name} runs{_whereabouts(record)} outside flysim, so it cannot be {deed}",
                expected=_own_machine(record),
            )
        return record

    def change(
        self,
        record: MachineRecord,
        state: MachineState | None = None,
        *,
        reason: str = "",
        healthy: bool | None = None,
        cordoned: bool | None = None,
        placement: Placement | None = None,
    ) -> None:
        """Make it so, and tell everyone. A machine that is not started is neither healthy nor examined."""
        before = after = record.machine
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
            record.stop_examining()
        record.machine = after
        self._publish_fleet(record.machine for record in self)
        self._publish_state(before, after, reason)
        if healthy is not None and before.healthy is not after.healthy:
            self._publish_health(after, reason)

    def tell_line(self, record: MachineRecord, stream: str, line: str) -> None:
        machine = record.machine
        record.tail.append(line)
        self._bus.publish(
            MachineLogged(
                self._clock.now(), machine.id, machine.name, machine.app, machine.region, stream, line
            )
        )

    def tell_problem(self, words: str, record: MachineRecord | None) -> None:
        """In the proxy's log: a machine may have none yet."""
        app, machine_id, region = (
            (record.spec.app, record.spec.id, record.spec.region) if record else ("", None, "")
        )
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


def _whereabouts(record: MachineRecord) -> str:
    return f" at {record.spec.url}," if record.spec.url else ""


def _own_machine(record: MachineRecord) -> str:
    if record.spec.lookup:
        return "flysim with access to the Docker engine, which this one has not: see docs/docker.md"
    return "a machine with a `command` or an `image`, which flysim runs itself"
