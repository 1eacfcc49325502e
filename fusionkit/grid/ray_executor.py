"""Tasks on the machines of a Ray cluster, or on a Ray of this machine; data travel through shared storage."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from typing import Any

from fusionkit.errors import ConfigError, DataError, cause_of
from fusionkit.grid.executors import OUT_OF_MEMORY
from fusionkit.grid.memory import memory_exhausted, set_ceiling, share
from fusionkit.grid.tasks import Code, Failure, Task, attempt, one_line, single_thread
from fusionkit.storage.artifact import unwritable

_REACH = 3.0  # s in which an address must answer
_STORE = 80 * 2**20  # bytes; near the least that Ray takes, since data travel through shared storage


def ray_module() -> Any:
    """Ray, untyped: it is an extra, and type checks must not depend on its being there.

    Raises:
        ConfigError: if it cannot be imported.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "ray":
            raise ConfigError("--executor ray: Ray is not installed", hint="pip install 'fusionkit[ray]'") from error
        raise ConfigError(f"--executor ray: Ray cannot be imported: {cause_of(error)}") from error


def connect(address: str | None, cores: int) -> list[Callable[[], object]]:
    """Reach a Ray; one that this process uses already is used as it is.

    Args:
        address: ``auto``, ``host:port`` or ``ray://host:port``; None starts a Ray on this machine.
        cores: of a Ray that is started; 0 for all.

    Returns:
        What undoes it, in order. A Ray that was started is stopped by it, any other one goes on.

    Raises:
        ConfigError: if Ray is not installed, or cannot be reached.
    """
    ray = ray_module()
    if ray.is_initialized():
        return []
    options: dict[str, Any] = {"address": address}
    if address is None:
        cores = cores or os.cpu_count() or 1
        options = {"address": "local", "num_cpus": cores, "object_store_memory": _STORE, "include_dashboard": False}
    else:
        _refuse_silence(address)
    try:
        with _no_usage_statistics(), _own_sigterm():
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:
        ray.shutdown()
        where = "Ray cannot be started" if address is None else f"Ray at {address} cannot be used"
        raise ConfigError(f"{where}: {cause_of(error)}") from error
    return [ray.shutdown, _silence_lost_workers()]


def _refuse_silence(address: str) -> None:
    """Ray itself waits two minutes for an address where nothing is, and then ends the process.

    Raises:
        ConfigError: if nothing listens at the address.
    """
    found = address if address != "auto" else _running_ray()
    host, _, port = found.removeprefix("ray://").rpartition(":")
    if not port.isdigit() or not host or "/" in host:
        raise ConfigError(f"--ray-address {address!r} is no address", hint="auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH).close()
    except (OSError, OverflowError) as error:
        where = address if found == address else f"{address} ({found})"
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"no Ray answers at {where}: {why}", hint="is `ray start` running there?") from error


def _running_ray() -> str:
    """Where the Ray of this machine is, as Ray itself finds it.

    Raises:
        ConfigError: if there is none.
    """
    services = importlib.import_module("ray._private.services")
    try:
        return str(services.canonicalize_bootstrap_address_or_die("auto"))
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            "--ray-address auto: no Ray runs on this machine", hint="`ray start`, or give host:port"
        ) from error


@contextmanager
def _no_usage_statistics() -> Iterator[None]:
    """A Ray that is started within tells nobody of it."""
    name = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray replaces the handler of SIGTERM by its own, which prints a stack trace and aborts."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _silence_lost_workers() -> Callable[[], object]:
    """Ray prints every lost worker to standard output, whatever its log level; failures already say it.

    Returns:
        What gives Ray its voice back.
    """
    worker: Any = importlib.import_module("ray._private.worker")
    before = getattr(worker, "print_to_stdstream", None)
    if before is None:
        return lambda: None
    worker.print_to_stdstream = lambda *_, **__: None
    return lambda: setattr(worker, "print_to_stdstream", before)


@dataclass(frozen=True)
class Order:
    """What a worker is told beside its task.

    Attributes:
        code: to load.
        folder: the driver's working folder.
        token: names the probes of shared storage.
        memory: GiB that each worker may use; 0 for no limit, None for its share of what its machine has available.
    """

    code: Code
    folder: str
    token: str
    memory: float | None = None


class Clock:
    """An actor that knows how long each task has been at work; the driver cannot tell that from waiting for a core."""

    def __init__(self) -> None:
        self.began: dict[int, float] = {}

    def start(self, number: int) -> None:
        """A task has begun."""
        self.began[number] = time.monotonic()

    def late(self, limit: float, oldest: int) -> list[int]:
        """The tasks that began more than ``limit`` seconds ago; those before ``oldest`` are over and forgotten."""
        self.began = {number: began for number, began in self.began.items() if number >= oldest}
        return [number for number, began in self.began.items() if time.monotonic() - began > limit]


def work(task: Task, order: Order, clock: Any, number: int) -> Failure | None:
    """Do a task.

    Args:
        task: what to do.
        order: what to know first.
        clock: the :class:`Clock` actor, or None.
        number: of the task, for the clock.
    """
    if memory_exhausted():
        os._exit(OUT_OF_MEMORY)  # the task goes to another process
    on_gpu = task.device.startswith("cuda")
    try:
        _settle(order, on_gpu)
        for root in _roots(task):
            _refuse_private(root, order.token)
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises while it is imported)
        return Failure.of(error)
    if clock is not None:
        clock.start.remote(number)
    if on_gpu:
        task = replace(task, device="cuda:0")  # Ray shows a worker the GPU that it is given, and no other
    return attempt(task, lambda _: None)


@lru_cache(maxsize=1)
def _settle(order: Order, on_gpu: bool) -> None:
    """Once a process: the driver's folder, so that relative paths mean the same; one thread; the components' code."""
    with suppress(OSError):  # where it is not shared, relative paths fail by themselves
        os.chdir(order.folder)
    if order.memory is not None:
        set_ceiling(order.memory or None)
    else:  # on a GPU none: its driver takes address space far beyond what it uses
        set_ceiling(None if on_gpu else share(os.cpu_count() or 1))
    single_thread()
    order.code.load()


@lru_cache
def _refuse_private(root: Path, token: str) -> None:
    """Results that are written where the others cannot see them would be lost without a word."""
    if not _probe(root, token).exists():
        raise DataError(
            f"machine {socket.gethostname()} does not see {root} as the machine that started the run does",
            hint="the run folder and the cache (FUSIONKIT_CACHE) must be on storage that all machines share",
        )


@contextmanager
def shared(tasks: Sequence[Task]) -> Iterator[str]:
    """While it lasts, a file in every folder that tasks share shows workers that they see the same folder.

    Yields:
        The token that an :class:`Order` takes along.

    Raises:
        StorageError: if such a folder cannot be written.
    """
    token = token_hex(8)
    probes = [_probe(root, token) for root in {root for task in tasks for root in _roots(task)}]
    try:
        for probe in probes:
            _make(probe)
        yield token
    finally:
        for probe in probes:
            probe.unlink(missing_ok=True)


def _make(probe: Path) -> None:
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise unwritable(probe, error) from error


def _roots(task: Task) -> list[Path]:
    folder: Path | None = getattr(task, "folder", None)
    return [task.cache] if folder is None else [task.cache, folder]


def _probe(root: Path, token: str) -> Path:
    return root / "leases" / f".ray-{token}"


Results = Generator[tuple[Task, Failure | None], None, None]

_NODES_LOST = 3  # how many nodes may die under a task before that counts as its failure
_TICK = 1.0  # s between looks at the cluster's size, and at who takes too long
_GRACE = 3.0  # s that interrupted tasks have to give their leases back
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_NODE_DIED = Failure("its node died", "its node died", retryable=True)


class RayExecutor:
    """Tasks as Ray tasks of one core and one thread each.

    A task whose node dies is sent out again; one whose process died, or that ran out of memory, is tried once more,
    alone. Ray's own retries are off: what its memory monitor kills it would retry without end.

    Args:
        address: of a running Ray: ``auto``, ``host:port`` or ``ray://host:port``; None starts one on this machine.
        workers: tasks at a time at most; 0 for as many as the cluster takes.
        timeout: seconds that one task may take, from when it starts; None for no limit.
        code: what each worker imports first.
        gpus_per_task: share of a GPU that a task on a CUDA device takes; 0 for a whole one.
        memory: GiB that each worker may use; 0 for no limit, None for its share of what its machine has available.
    """

    def __init__(
        self,
        address: str | None,
        workers: int,
        timeout: float | None,
        code: Code,
        gpus_per_task: float = 0.0,
        memory: float | None = None,
    ) -> None:
        self.address = address
        self.workers = workers
        self.timeout = timeout
        self.code = Code(tuple(str(Path(path).expanduser().resolve()) for path in code.plugins), code.modules)
        self.gpus_per_task = gpus_per_task
        self.memory = memory
        self._undo: list[Callable[[], object]] = []

    def connect(self) -> None:
        """Reach the cluster, or start Ray here; needed only to know early whether that works.

        Raises:
            ConfigError: if Ray is not installed, or cannot be reached.
        """
        self._undo += connect(self.address, self.workers)

    def close(self) -> None:
        """Leave the cluster; a Ray that was started here is stopped."""
        while self._undo:
            self._undo.pop(0)()

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Do every task; steps are told of when a task is over.

        Raises:
            ConfigError: if the cluster cannot be reached, or has no GPU for a task that needs one.
            StorageError: if the folders that tasks share cannot be written.
        """
        self.connect()
        again: list[Task] = []
        with shared(tasks) as token:
            order = Order(self.code, str(Path.cwd()), token, self.memory)
            flights = _Flights(ray_module(), order, self.timeout, self.gpus_per_task or 1.0)
            with closing(flights.run(tasks, self.workers)) as results:
                for task, failure in results:
                    if failure and failure.retryable:
                        again.append(task)
                    else:
                        advance(task.steps)
                        yield task, failure
            with closing(flights.run(again, 1)) as results:
                for task, failure in results:
                    advance(task.steps)
                    yield task, failure


@dataclass
class _Flying:
    """A task that is out: in a queue of Ray's, or at work."""

    task: Task
    number: int
    nodes_lost: int
    late: bool = False


class _Flights:
    """Sends tasks out, never more at a time than a limit, and takes in what comes back.

    Args:
        ray: the connected module.
        order: what each worker is told.
        timeout: seconds that one task may take.
        share: of a GPU, for a task on one.
    """

    def __init__(self, ray: Any, order: Order, timeout: float | None, share: float) -> None:
        self.ray = ray
        self.order = order
        self.timeout = timeout
        self.share = share
        self.out: dict[Any, _Flying] = {}
        self.sent = 0
        self.cores = 0
        self.looked = -_TICK
        kept = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        self.environment = {"env_vars": _THREADS | kept}
        # max_calls=0: else Ray ends the process of a GPU task after each one, and with it the features it holds.
        self.on_cpu, self.on_gpu = (
            ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, max_calls=0)(work) for gpus in (0, share)
        )
        self.clock = None if timeout is None else self._start_clock()

    def run(self, tasks: Iterable[Task], limit: int) -> Results:
        """Do tasks.

        Args:
            tasks: what to do.
            limit: tasks out at most; 0 for two for each core of the cluster, so that no core waits for the next.
        """
        waiting = iter(tasks)
        lost: deque[_Flying] = deque()
        try:
            while True:
                self._send(waiting, lost, limit or self._twice_the_cores())
                if not self.out:
                    return
                for flying, failure in self._back():
                    if failure is _NODE_DIED and flying.nodes_lost < _NODES_LOST:
                        lost.append(flying)
                    else:
                        yield flying.task, failure
                self._stop_late()
        finally:
            self._recall()

    # -- out -------------------------------------------------------------------------------------------------------

    def _send(self, waiting: Iterator[Task], lost: deque[_Flying], room: int) -> None:
        while len(self.out) < room:
            if lost:
                flying = lost.popleft()
                self._launch(flying.task, flying.nodes_lost + 1)
            elif (task := next(waiting, None)) is not None:
                self._launch(task, 0)
            else:
                return

    def _launch(self, task: Task, nodes_lost: int) -> None:
        on_gpu = task.device.startswith("cuda")
        if on_gpu and self.ray.cluster_resources().get("GPU", 0) < self.share:
            raise ConfigError(f"the Ray cluster has no GPU for {task.name}", hint="--device cpu, or nodes with GPUs")
        self.sent += 1
        remote = (self.on_gpu if on_gpu else self.on_cpu).options(name=task.name, runtime_env=self.environment)
        self.out[remote.remote(task, self.order, self.clock, self.sent)] = _Flying(task, self.sent, nodes_lost)

    def _twice_the_cores(self) -> int:
        """Of the cluster as it is now: nodes come and go."""
        if time.monotonic() - self.looked >= _TICK:
            self.looked = time.monotonic()
            self.cores = int(self.ray.cluster_resources().get("CPU", 0))
        return max(2, 2 * self.cores)

    # -- back ------------------------------------------------------------------------------------------------------

    def _back(self) -> Iterator[tuple[_Flying, Failure | None]]:
        """What is over, after a moment's wait."""
        tick = _TICK if self.timeout is None else min(_TICK, self.timeout / 4)
        done, _ = self.ray.wait(list(self.out), num_returns=1, timeout=tick)
        if done:
            done, _ = self.ray.wait(list(self.out), num_returns=len(self.out), timeout=0)
        for ref in done:
            flying = self.out.pop(ref)
            yield flying, self._outcome(ref, flying)

    def _outcome(self, ref: Any, flying: _Flying) -> Failure | None:
        try:
            failure: Failure | None = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            return Failure(one_line(error.cause), str(error))
        except self.ray.exceptions.RayError as error:
            if flying.late and self.timeout is not None:
                return Failure.late(self.timeout, "")
            return _system_failure(self.ray.exceptions, error)
        return failure

    def _recall(self) -> None:
        """Cancel what is out: politely first, so that leases are given back, then by force."""
        left = list(self.out)
        self.out.clear()
        if not left or not self.ray.is_initialized():
            return
        for ref in left:
            self.ray.cancel(ref)
        _, left = self.ray.wait(left, num_returns=len(left), timeout=_GRACE)
        for ref in left:
            self.ray.cancel(ref, force=True)

    # -- time ------------------------------------------------------------------------------------------------------

    def _start_clock(self) -> Any:
        """On the head node, whose loss ends the cluster anyway; it takes no core."""
        actor = self.ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(Clock)
        return actor.options(runtime_env=self.environment).remote()

    def _stop_late(self) -> None:
        if self.clock is None or not self.out:
            return
        oldest = min(flying.number for flying in self.out.values())
        late = set(self.ray.get(self.clock.late.remote(self.timeout, oldest)))
        for ref, flying in self.out.items():
            if flying.number in late and not flying.late:
                flying.late = True
                self.ray.cancel(ref, force=True)


def _system_failure(errors: Any, error: BaseException) -> Failure:
    """What an error of Ray's own means for the task."""
    if isinstance(error, errors.NodeDiedError | errors.ObjectLostError):
        return _NODE_DIED
    if isinstance(error, errors.OutOfMemoryError):
        return Failure("its machine ran out of memory, and its process was stopped", str(error), retryable=True)
    if isinstance(error, errors.WorkerCrashedError):
        return Failure("its process died", str(error), retryable=True)
    return Failure(cause_of(error), str(error), retryable=not isinstance(error, errors.RuntimeEnvSetupError))
