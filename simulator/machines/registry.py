"""Registry of machines: a record per machine, the fleet they form, and an event for each change.

Every change of a machine goes through `MachineRegistry.change`, which publishes it at once.
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
    """The records of all machines that are not destroyed, in order."""

    def __init__(self, apps: Iterable[App], bus: Bus, clock: Clock) -> None:
        self.fleet = Fleet.of(apps)
        self._bus = bus
        self._clock = clock
        self._records: dict[str, MachineRecord] = {}
        self._baseline: list[MachineSpec] = []
        self._known_specs: list[MachineSpec] = []

    def __iter__(self) -> Iterator[MachineRecord]:
        return iter(tuple(self._records.values()))

    def set_baseline(self, specs: Iterable[MachineSpec]) -> None:
        """Set the machines that `restore_baseline` restores, and create them."""
        self._baseline = list(specs)
        self.restore_baseline()

    @property
    def baseline(self) -> tuple[MachineSpec, ...]:
        """The machines of the config, and those that were added outside flysim since."""
        return tuple(self._baseline)

    def restore_baseline(self) -> None:
        """Keep exactly the baseline machines, in their order: existing records stay, missing ones are created."""
        self._known_specs = list(self._baseline)
        self._records = {
            spec.id: self._records.get(spec.id) or make_record(spec) for spec in self._known_specs
        }
        self._publish_fleet(record.machine for record in self)

    def add(self, spec: MachineSpec) -> MachineRecord:
        record = self._records[spec.id] = make_record(spec)
        self._known_specs.append(spec)
        self._publish_fleet(record.machine for record in self)
        return record

    def add_to_baseline(self, spec: MachineSpec) -> MachineRecord:
        """Add a machine to the baseline, and its app, if it is new."""
        if spec.app not in self.fleet.apps:
            self.fleet = self.fleet.with_app(App(spec.app))
        self._baseline.append(spec)
        return self.add(spec)

    def remove_from_baseline(self, record: MachineRecord) -> None:
        """Remove a machine that was removed outside flysim."""
        self._baseline = [spec for spec in self._baseline if spec.id != record.spec.id]
        self.remove(record)

    def remove(self, record: MachineRecord) -> None:
        before = record.machine
        self._records.pop(record.spec.id, None)
        record.machine = replace(before, state=MachineState.DESTROYED)
        self._publish_fleet(record.machine for record in self)
        self._publish_state(before, record.machine, "")

    @property
    def known_specs(self) -> tuple[MachineSpec, ...]:
        """The specs of all current machines, and of those removed since the last `restore_baseline`."""
        return tuple(self._known_specs)

    def get(self, machine_id: str) -> MachineRecord | None:
        return self._records.get(machine_id)

    def find(self, machine_id: str) -> MachineRecord:
        """Raises InputError, which lists all machines, if none has this id."""
        record = self._records.get(machine_id)
        if record is None:
            known = ", ".join(f"{record.spec.id} ({record.spec.name})" for record in self)
            raise InputError(
                f'there is no machine "{machine_id}"',
                expected=f"one of {known}" if known else "a machine id; the fleet has no machines",
            )
        return record

    def find_own(self, machine_id: str, action: str) -> MachineRecord:
        """Like `find`; also raises InputError for a machine that flysim only routes to."""
        record = self.find(machine_id)
        if record.is_external:
            raise InputError(
                f"machine {record.spec.name} runs{_location(record)} outside flysim, so it cannot be {action}",
                expected=_controllable_machine(record),
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
        """Change a machine and publish the change. A machine that is not started is not healthy and not monitored."""
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
            record.stop_monitoring()
        record.machine = after
        self._publish_fleet(record.machine for record in self)
        self._publish_state(before, after, reason)
        if healthy is not None and before.healthy is not after.healthy:
            self._publish_health(after, reason)

    def publish_line(self, record: MachineRecord, stream: str, line: str) -> None:
        machine = record.machine
        record.log_tail.append(line)
        self._bus.publish(
            MachineLogged(
                self._clock.now(), machine.id, machine.name, machine.app, machine.region, stream, line
            )
        )

    def publish_problem(self, description: str, record: MachineRecord | None) -> None:
        """Log a warning in the proxy's log, because the machine may not have a log yet."""
        app, machine_id, region = (
            (record.spec.app, record.spec.id, record.spec.region) if record else ("", None, "")
        )
        self._bus.publish(ProxyLogged(self._clock.now(), app, machine_id, region, "warn", description))

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


def _location(record: MachineRecord) -> str:
    return f" at {record.spec.url}," if record.spec.url else ""


def _controllable_machine(record: MachineRecord) -> str:
    if record.spec.lookup:
        return "access to the Docker engine, which this flysim does not have: see docs/docker.md"
    return "a machine with a `command` or an `image`, so that flysim runs it"
