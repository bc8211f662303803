"""Which machine gets a delivery: filter, then rank.

Least loaded by class, then closest, then chance (F-5.1 to F-5.4); a region list is tried in its order and never
left (F-1.20). Where no machine that runs will do, one may be started (F-1.59, F-5.25) or waited for (F-5.6).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from simulator.routing.balancing.load import Load, LoadClass
from simulator.routing.model import Fleet, Machine, MachineState
from simulator.routing.regions import ANY, members

Chance = Callable[[int], int]
"""Given n ≥ 1, a number from 0 to n - 1: the caller's randomness (F-5.1)."""

RECENTLY_STOPPED_SECONDS = 300.0
"""F-5.43, F-10.6: a machine stopped so lately is started only where there is no other."""

_LUCKY_TRIES = 3
_NOT_STARTABLE = (MachineState.STOPPING, MachineState.DESTROYING)


@dataclass(frozen=True, slots=True)
class Target:
    """What a delivery is aimed at. Everything but `prefer_instance` is a hard condition."""

    app: str
    instance: str | None = None
    prefer_instance: str | None = None
    regions: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    """Ids of machines that may not be chosen (F-1.6)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What selection came to: at most one of these is set, none if no machine can take the delivery."""

    machine: Machine | None = None
    start: Machine | None = None
    """This one is to be started, or is starting, and then to be delivered to."""
    stuck: Machine | None = None
    """The machine that was named is in a state in which it can be neither used nor started (F-5.31)."""
    full: bool = False
    """Every machine that would do is at its hard limit (F-5.6)."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One choice: the fleet at this moment, the public port, where the client came in."""

    fleet: Fleet
    load: Load
    edge: str
    port: int
    now: float
    chance: Chance
    aliases: Mapping[str, frozenset[str]]
    """Members of geographic aliases, in place of the usual ones (K-29)."""

    def select(self, target: Target, tried: Collection[str] = ()) -> Choice:
        """The machine for this delivery; machines in `tried` are passed over."""
        if target.app not in self.fleet.apps:
            return Choice()
        if target.instance is not None:
            return self._named(target.instance, target, tried)
        if target.prefer_instance is not None:
            preferred = self._named(target.prefer_instance, target, tried)
            if preferred.machine or preferred.start:
                return preferred
        return self._ranked(target, tried)

    def _named(self, machine_id: str, target: Target, tried: Collection[str]) -> Choice:
        """The named machine, if it meets the other conditions; one of another app meets nothing (F-1.16, K-10)."""
        machine = self.fleet.find(machine_id)
        if machine is None or machine.id in tried or not self._meets(machine, target):
            return Choice()
        if machine.is_candidate:
            full = self._class(machine) is LoadClass.FULL
            return Choice(full=True) if full else Choice(machine=machine)
        if self.fleet.may_start(machine, self.port) or machine.is_coming:
            return Choice(start=machine)
        return Choice(stuck=machine) if machine.state in _NOT_STARTABLE else Choice()

    def _meets(self, machine: Machine, target: Target) -> bool:
        if machine.app != target.app or machine.id in target.excluded or not self._offers_port(machine):
            return False
        return not target.regions or any(self._is_in(machine, region) for region in target.regions)

    def _ranked(self, target: Target, tried: Collection[str]) -> Choice:
        passed_over = target.excluded.union(tried)
        closest, full = None, False
        for group in self._groups(target):
            machine, load = self._least_loaded(group, passed_over)
            if load is LoadClass.BELOW_SOFT:
                # The soft limit never moves traffic to another region (F-5.4).
                return Choice(machine=closest or machine)
            if load is LoadClass.ABOVE_SOFT:
                closest = closest or machine
            full = full or load is LoadClass.FULL
        start = self._find_startable(target, passed_over)  # all that run are above soft, or none runs: F-5.25
        if start is not None:
            return Choice(start=start)
        return Choice(machine=closest) if closest else Choice(full=full)

    def _groups(self, target: Target) -> Iterator[Sequence[Machine]]:
        """The candidates, closest first; with a region list, for each of its entries after the other."""
        for region in target.regions or (ANY,):
            inside = self._members(region)
            yield from self.fleet.candidates_by_distance(target.app, self.edge, self.port, inside)

    def _least_loaded(
        self, group: Sequence[Machine], passed_over: Collection[str]
    ) -> tuple[Machine | None, LoadClass | None]:
        """One of the least loaded of a region, by chance, and its class (F-5.1, F-5.3)."""
        for _ in range(_LUCKY_TRIES):  # as good as certain where load is low, and quick in a large region
            machine = group[self.chance(len(group))]
            if machine.id not in passed_over and self._class(machine) is LoadClass.BELOW_SOFT:
                return machine, LoadClass.BELOW_SOFT
        classes = [(self._class(machine), machine) for machine in group if machine.id not in passed_over]
        if not classes:
            return None, None
        best = min(load for load, _ in classes)
        least = [machine for load, machine in classes if load is best]
        return least[self.chance(len(least))], best

    def _find_startable(self, target: Target, passed_over: Collection[str]) -> Machine | None:
        """The nearest that is starting already, else the nearest that may be started (F-5.25)."""
        resting = self.fleet.startable_by_distance(target.app, self.edge, self.port)
        near = [
            machine
            for region in target.regions or (ANY,)
            for machine in resting
            if machine.id not in passed_over and self._is_in(machine, region)
        ]
        coming = next((machine for machine in near if machine.is_coming), None)
        rested = (machine for machine in near if not self._was_just_stopped(machine))  # F-5.43
        return coming or next(rested, None) or next(iter(near), None)

    def _was_just_stopped(self, machine: Machine) -> bool:
        return machine.stopped_at is not None and self.now - machine.stopped_at < RECENTLY_STOPPED_SECONDS

    def _offers_port(self, machine: Machine) -> bool:
        return self.fleet.find_service(machine, self.port) is not None  # F-5.12

    def _class(self, machine: Machine) -> LoadClass:
        service = self.fleet.find_service(machine, self.port)
        assert service is not None, "only machines that offer the port are looked at"
        return self.load.classify(machine.id, service)

    def _is_in(self, machine: Machine, region: str) -> bool:
        return (inside := self._members(region)) is None or machine.region in inside

    def _members(self, region: str) -> frozenset[str] | None:
        """The regions behind a code or alias; None for all of them (F-1.18, K-29)."""
        return self.aliases[region] if region in self.aliases else members(region)
