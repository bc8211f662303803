"""Selection of a machine for one delivery: filter, then rank.

Ranked by load class, then distance, then at random (F-5.1 to F-5.4). A region list is tried in its order, and no
other region is used (F-1.20). If no running machine is suitable, one is started (F-1.59, F-5.25) or the request
waits for one (F-5.6).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from simulator.routing.balancing.load import Load, LoadClass
from simulator.routing.model import Fleet, Machine, MachineState
from simulator.routing.regions import ANY, members

Chance = Callable[[int], int]
"""Like `random.randrange`: given n ≥ 1, a random number from 0 to n - 1 (F-5.1)."""

RECENTLY_STOPPED_SECONDS = 300.0
"""F-5.43, F-10.6: a machine that was stopped more recently is started only if there is no other."""

_RANDOM_PROBES = 3
_NOT_STARTABLE = (MachineState.STOPPING, MachineState.DESTROYING)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery may go. Everything but `prefer_instance` is a hard condition."""

    app: str
    instance: str | None = None
    prefer_instance: str | None = None
    regions: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    """Ids of machines that may not be chosen (F-1.6)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of a selection: at most one field is set; none is set if no machine can take the delivery."""

    machine: Machine | None = None
    start: Machine | None = None
    """Start this machine, or wait until it has started, then deliver to it."""
    unstartable: Machine | None = None
    """The requested instance is in a state in which it can be neither used nor started (F-5.31)."""
    full: bool = False
    """Every matching machine is at its hard limit (F-5.6)."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Inputs of one selection: the fleet and load at this moment, the client's edge and the public port."""

    fleet: Fleet
    load: Load
    edge: str
    port: int
    now: float
    chance: Chance
    aliases: Mapping[str, frozenset[str]]
    """Members of geographic aliases, replacing the default ones (K-29)."""

    def select(self, target: Target, tried: Collection[str] = ()) -> Choice:
        """Select a machine for one delivery; machines in `tried` are skipped."""
        if target.app not in self.fleet.apps:
            return Choice()
        if target.instance is not None:
            return self._select_instance(target.instance, target, tried)
        if target.prefer_instance is not None:
            preferred = self._select_instance(target.prefer_instance, target, tried)
            if preferred.machine or preferred.start:
                return preferred
        return self._select_ranked(target, tried)

    def _select_instance(self, machine_id: str, target: Target, tried: Collection[str]) -> Choice:
        """The requested machine, if it meets the other conditions; one of another app does not (F-1.16, K-10)."""
        machine = self.fleet.find(machine_id)
        if machine is None or machine.id in tried or not self._matches(machine, target):
            return Choice()
        if machine.is_candidate:
            full = self._load_class(machine) is LoadClass.FULL
            return Choice(full=True) if full else Choice(machine=machine)
        if self.fleet.may_start(machine, self.port) or machine.is_starting:
            return Choice(start=machine)
        return Choice(unstartable=machine) if machine.state in _NOT_STARTABLE else Choice()

    def _matches(self, machine: Machine, target: Target) -> bool:
        if machine.app != target.app or machine.id in target.excluded or not self._offers_port(machine):
            return False
        return not target.regions or any(self._is_in(machine, region) for region in target.regions)

    def _select_ranked(self, target: Target, tried: Collection[str]) -> Choice:
        skipped = target.excluded.union(tried)
        closest, full = None, False
        for group in self._groups(target):
            machine, load = self._least_loaded(group, skipped)
            if load is LoadClass.BELOW_SOFT:
                # The soft limit never moves traffic to another region (F-5.4).
                return Choice(machine=closest or machine)
            if load is LoadClass.ABOVE_SOFT:
                closest = closest or machine
            full = full or load is LoadClass.FULL
        # Every running machine is above its soft limit, or none is running (F-5.25).
        start = self._find_startable(target, skipped)
        if start is not None:
            return Choice(start=start)
        return Choice(machine=closest) if closest else Choice(full=full)

    def _groups(self, target: Target) -> Iterator[Sequence[Machine]]:
        """The candidates by distance, closest first; with a region list, entry by entry."""
        for region in target.regions or (ANY,):
            inside = self._members(region)
            yield from self.fleet.candidates_by_distance(target.app, self.edge, self.port, inside)

    def _least_loaded(
        self, group: Sequence[Machine], skipped: Collection[str]
    ) -> tuple[Machine | None, LoadClass | None]:
        """A random one of the least loaded machines of `group`, and its class (F-5.1, F-5.3)."""
        for _ in range(_RANDOM_PROBES):  # under low load this finds one without scanning a large region
            machine = group[self.chance(len(group))]
            if machine.id not in skipped and self._load_class(machine) is LoadClass.BELOW_SOFT:
                return machine, LoadClass.BELOW_SOFT
        classes = [(self._load_class(machine), machine) for machine in group if machine.id not in skipped]
        if not classes:
            return None, None
        best = min(load for load, _ in classes)
        least = [machine for load, machine in classes if load is best]
        return least[self.chance(len(least))], best

    def _find_startable(self, target: Target, skipped: Collection[str]) -> Machine | None:
        """The closest machine that is starting already, else the closest that may be started (F-5.25)."""
        startable = self.fleet.startable_by_distance(target.app, self.edge, self.port)
        matching = [
            machine
            for region in target.regions or (ANY,)
            for machine in startable
            if machine.id not in skipped and self._is_in(machine, region)
        ]
        starting = next((machine for machine in matching if machine.is_starting), None)
        not_recent = (machine for machine in matching if not self._was_just_stopped(machine))  # F-5.43
        return starting or next(not_recent, None) or next(iter(matching), None)

    def _was_just_stopped(self, machine: Machine) -> bool:
        return machine.stopped_at is not None and self.now - machine.stopped_at < RECENTLY_STOPPED_SECONDS

    def _offers_port(self, machine: Machine) -> bool:
        return self.fleet.find_service(machine, self.port) is not None  # F-5.12

    def _load_class(self, machine: Machine) -> LoadClass:
        service = self.fleet.find_service(machine, self.port)
        assert service is not None, "only machines that offer the port are candidates"
        return self.load.classify(machine.id, service)

    def _is_in(self, machine: Machine, region: str) -> bool:
        return (inside := self._members(region)) is None or machine.region in inside

    def _members(self, region: str) -> frozenset[str] | None:
        """The regions of a code or alias; None means all regions (F-1.18, K-29)."""
        return self.aliases[region] if region in self.aliases else members(region)
