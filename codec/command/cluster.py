"""Calls on a cluster of machines, by Ray: an actor for each core or GPU, which loads a model once and makes many calls.

Ray places and watches the actors. When one dies, alone or with its machine, its calls go to others, and another actor
takes its place as soon as the cluster has room. An actor holds at most IN_FLIGHT calls, so that a million files wait
here and not in the cluster's memory.
"""

import logging
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lapic import codec
from lapic.bitstream.error import Error
from lapic.codec.command import interrupts
from lapic.codec.command.console import print_stderr, quiet_pillow
from lapic.codec.command.failures import attempt, reason
from lapic.codec.command.workers import THREADS, Call, Outcome
from lapic.codec.memory import collect_seldom, keep_freed_memory

IN_FLIGHT = 2  # calls of an actor: one that it makes, one that waits, so that it need not
ATTEMPTS = 4  # of a call whose actors die
PATIENCE = 60.0  # seconds without any actor after which the user is told
LOOK = 5.0  # seconds between two looks at the size of the cluster
NAMESPACE = "lapic"  # of the actors
PORT = re.compile(r"(ray://)?(?P<host>[^/]*):(?P<port>\d+)")
CONNECT_SECONDS = 10.0


class _Actor:
    """A process of the cluster that makes calls, one at a time."""

    def __init__(self, threads: int) -> None:
        os.environ[THREADS] = str(threads)
        quiet_pillow()
        keep_freed_memory()
        collect_seldom()

    def version(self) -> str:
        """The version of lapic where it runs."""
        return codec.__version__

    def call(self, work: Callable[[Any], Outcome], argument: Any) -> Outcome:
        """Make a call; an exception fails it alone."""
        return attempt(work, argument)


class Cluster:
    """Actors on a Ray cluster."""

    def __init__(self, ray: Any, on_gpus: bool) -> None:
        self.ray, self.resource = ray, "GPU" if on_gpus else "CPU"
        needs = {"num_cpus": 0, "num_gpus": 1} if on_gpus else {"num_cpus": 1}
        self.make = ray.remote(_Actor).options(max_restarts=0, **needs).remote
        self.actors: set[Any] = set()
        self.flying: dict[Any, tuple[Any, int | None]] = {}  # reference of a result -> actor, call; None for its start
        self.held: dict[Any, list[int]] = {}  # calls of each actor that has started; it makes the first one
        self.looked = -LOOK
        self.size = 0
        self._look()

    def __len__(self) -> int:
        """How many actors the cluster had room for when it was last looked at."""
        return self.size

    def run(
        self,
        calls: list[Call],
        listen: Callable[[int, Outcome], None],
        again: Callable[[Any], Any] = lambda argument: argument,
    ) -> None:
        """Make all calls.

        Args:
            listen: called with the number of each call and its result, which is {"error": one line} for a call that
                raised an exception or whose actors died ATTEMPTS times.
            again: makes the argument of another attempt of that of the first.

        Raises:
            Error: the cluster is lost, or has another version of lapic.
            BaseException: KeyboardInterrupt, and any exception of `listen`.
        """
        waiting = deque(range(len(calls)))
        deaths: Counter[int] = Counter()  # of the actors that made a call
        given: set[int] = set()
        left, idle_since = len(calls), time.monotonic()
        while left:
            with _one_line("the cluster is lost"):
                if time.monotonic() - self.looked > LOOK or not self.actors:
                    self._look()
                    self._fit(min(left, self.size))
                self._hand_out(waiting, calls, given, deaths, again)
                done = self._collect(deaths)
            if self.held:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > PATIENCE:
                print_stderr(f"lapic: the cluster has no {self.resource} free; waiting for one")
                idle_since = time.monotonic()
            for number, outcome in done:
                if outcome is None and deaths[number] < ATTEMPTS:
                    waiting.appendleft(number)
                    continue
                left -= 1
                listen(number, outcome or {"error": f"the process that ran it died {ATTEMPTS} times"})
            interrupts.check()

    def _look(self) -> None:
        """See how large the cluster is: machines are lost, and come."""
        self.size = max(1, int(self.ray.cluster_resources().get(self.resource, 0)))
        self.looked = time.monotonic()

    def _fit(self, wanted: int) -> None:
        """Start actors until there are as many as wanted, counting those that wait for room."""
        for _ in range(wanted - len(self.actors)):
            threads = 1 if self.resource == "CPU" else os.cpu_count() or 1
            actor = self.make(threads)
            self.actors.add(actor)
            self.flying[actor.version.remote()] = (actor, None)

    def _hand_out(
        self,
        waiting: deque[int],
        calls: list[Call],
        given: set[int],
        deaths: Counter[int],
        again: Callable[[Any], Any],
    ) -> None:
        """Give each actor that has started as many calls as it may hold, those with the fewest first.

        A call in `deaths` gets an actor of its own: the result of the call before it is lost if its actor dies at once.
        """
        for count in range(IN_FLIGHT):
            for actor, held in [(actor, held) for actor, held in self.held.items() if len(held) == count]:
                if any(deaths[number] for number in held):
                    continue
                number = next((one for one in waiting if not (held and deaths[one])), None)
                if number is None:
                    continue
                waiting.remove(number)
                work, argument = calls[number]
                argument = again(argument) if number in given else argument
                self.flying[actor.call.remote(work, argument)] = (actor, number)
                self.held[actor].append(number)
                given.add(number)

    def _collect(self, deaths: Counter[int]) -> list[tuple[int, Outcome | None]]:
        """The calls that ended within a second, with their results; None for those whose actor died, of which the one
        that it made is counted in `deaths`."""
        if not self.flying:
            time.sleep(0.1)
            return []
        ready, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=1)
        found: list[tuple[int, Outcome | None]] = []
        for reference in ready:
            actor, number = self.flying.pop(reference)
            try:
                result = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as error:  # what it was sent cannot be opened there
                result = {"error": reason(error.cause if isinstance(error.cause, Exception) else error)}
            except self.ray.exceptions.RayError:
                deaths.update(self._bury(actor)[:1])
                result = None
            if number is not None:
                if actor in self.held:
                    self.held[actor].remove(number)
                found.append((number, result))
            elif isinstance(result, str):
                _check_version(result)
                self.held[actor] = []
            elif result:
                raise Error(f"the cluster cannot run lapic: {result['error']}")
        return found

    def _bury(self, actor: Any) -> list[int]:
        """Forget an actor that died; gives its calls, which all come back by themselves."""
        self.actors.discard(actor)
        self.looked = -LOOK
        return self.held.pop(actor, [])

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            with suppress(Exception):
                self.ray.kill(actor)


def _check_version(there: str) -> None:
    if there != codec.__version__:
        raise Error(f"the cluster has lapic {there}, this is {codec.__version__}: files could differ")


def _check_port(address: str) -> None:
    """Raise `Error` if nothing listens at an address with a port: Ray itself would try for minutes."""
    match = PORT.fullmatch(address)
    if not match:
        return
    if not match["host"]:
        raise Error(f"cannot reach the cluster {address}: the address names no host")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Error(f"cannot reach the cluster {address}: {why}") from None


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Raise what Ray raises as an `Error` of one line."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        message = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Error(f"{what}: {message}") from error


@contextmanager
def cluster_of(address: str, device: str = "auto") -> Iterator[Cluster]:
    """The Ray cluster at an address, for the time of the block.

    Args:
        address: "auto" for the cluster of this machine, ray://HEAD:10001, HEAD:6379 on a machine of the cluster, or
            "local" for one that is started here and ends with the block.
        device: "cpu", "cuda", or "auto" for GPUs if the cluster has some.

    Raises:
        Error: Ray is missing, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers about a cluster it starts
    try:
        import ray
    except ModuleNotFoundError as error:
        raise Error(f"{error.name} is missing: pip install 'lapic[cluster]'") from None
    joined = not ray.is_initialized()  # else by a program that calls the command
    if joined:
        _check_port(address)
        own = {"include_dashboard": False} if address == "local" else {}
        with _one_line(f"cannot reach the cluster {address}"):
            ray.init(
                address, log_to_driver=False, logging_level=logging.ERROR, namespace=NAMESPACE,
                ignore_reinit_error=True, **own,
            )  # fmt: skip
    try:
        with _one_line(f"cannot reach the cluster {address}"):
            gpus = ray.cluster_resources().get("GPU", 0)
        if device == "cuda" and not gpus:
            raise Error(f"the cluster {address} has no GPU")
        cluster = Cluster(ray, bool(gpus) and device != "cpu")
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        if joined:
            ray.shutdown()
