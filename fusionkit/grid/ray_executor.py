"""Ray executor: tasks on a Ray cluster, or on a Ray of this machine. Data travel through shared storage."""

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

from fusionkit.errors import ConfigError, DataError, cause_of, component_errors, expanded, extra, watched_interrupts
from fusionkit.grid.executors import ONE_THREAD, OUT_OF_MEMORY, environment, load_libraries
from fusionkit.grid.memory import memory_exhausted, set_ceiling, share
from fusionkit.grid.tasks import Code, Failure, Task, attempt, one_line, single_thread
from fusionkit.storage.artifact import unwritable

Results = Generator[tuple[Task, Failure | None], None, None]

_CONNECT_TIMEOUT = 3.0  # s in which an address must answer
_OBJECT_STORE = 80 * 2**20  # bytes; about the minimum of Ray, since data travel through shared storage
_NODES_LOST = 3  # number of node deaths after which a task fails
_TICK = 1.0  # s between checks of the cluster's size and of the timeout
_GRACE = 3.0  # s that interrupted tasks have to release their leases
_NODE_DIED = Failure("its node died", "its node died", retryable=True)


class RayExecutor:
    """Runs tasks as Ray tasks of one core and one thread each.

    A task whose node dies is sent again. It is retried once, alone, if its process died or if it ran out of memory.
    Ray's own retries are off: it would retry without end what its memory monitor kills.

    Args:
        address: of a running Ray: ``auto``, ``host:port`` or ``ray://host:port``; None starts one on this machine.
        workers: maximum number of submitted tasks; 0 for two per core of the cluster.
        timeout: seconds per task, from its start; None for no limit.
        code: imported first by each worker.
        memory: GiB per worker; 0 for no limit, None for its share of the available memory of its machine.
    """

    def __init__(
        self,
        address: str | None,
        workers: int,
        timeout: float | None,
        code: Code,
        memory: float | None = None,
    ) -> None:
        self.address = address
        self.workers = workers
        self.timeout = timeout
        self.code = Code(tuple(str(expanded(path).resolve()) for path in code.plugins), code.modules)
        self.memory = memory
        self._undo: list[Callable[[], object]] = []

    def connect(self) -> None:
        """Connect to the cluster, or start Ray here, unless this process is connected. :meth:`run` calls it too.

        Raises:
            ConfigError: if Ray is not installed, or the connection fails.
        """
        ray = ray_module()
        if ray.is_initialized():
            return
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            cores = self.workers or os.cpu_count() or 1
            sizes = {"num_cpus": cores, "object_store_memory": _OBJECT_STORE}
            options = {"address": "local", "include_dashboard": False, **sizes}
        else:
            _check_address(self.address)
        try:
            with environment({"RAY_USAGE_STATS_ENABLED": "0"}), _own_sigterm():
                ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (Exception, SystemExit) as error:
            ray.shutdown()
            problem = "Ray cannot be started" if self.address is None else f"Ray at {self.address} cannot be used"
            raise ConfigError(f"{problem}: {cause_of(error)}") from error
        self._undo += [ray.shutdown, _silence_lost_workers()]

    def close(self) -> None:
        """Disconnect from the cluster. A Ray that was started here is stopped."""
        while self._undo:
            self._undo.pop(0)()

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Run every task; its steps are reported when it has ended.

        Raises:
            ConfigError: if the connection fails, or the cluster has no GPU for a task that needs one.
            StorageError: if the folders that tasks share cannot be written.
        """
        self.connect()
        again: list[Task] = []
        with shared(tasks) as token:
            setup = RaySetup(self.code, str(Path.cwd()), token, self.memory)
            dispatcher = _Dispatcher(ray_module(), setup, self.timeout)
            with closing(dispatcher.run(tasks, self.workers)) as results:
                for task, failure in results:
                    if failure and failure.retryable:
                        again.append(task)
                    else:
                        advance(task.steps)
                        yield task, failure
            with closing(dispatcher.run(again, 1)) as results:
                for task, failure in results:
                    advance(task.steps)
                    yield task, failure


# -- connection --------------------------------------------------------------------------------------------------------


def ray_module() -> Any:
    """Import Ray, untyped: it is an extra, and type checks must not depend on it.

    Raises:
        ConfigError: if it cannot be imported.
    """
    with extra("ray", "--executor ray"):
        return importlib.import_module("ray")


def _check_address(address: str) -> None:
    """Check that something listens: Ray itself waits two minutes for it, and then ends the process.

    Raises:
        ConfigError: if nothing listens at the address.
    """
    found = address if address != "auto" else _address_on_this_machine()
    host, _, port = found.removeprefix("ray://").rpartition(":")
    if not port.isdigit() or not host or "/" in host:
        raise ConfigError(f"--ray-address {address!r} is no address", hint="auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        where = address if found == address else f"{address} ({found})"
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"no Ray answers at {where}: {reason}", hint="is `ray start` running there?") from error


def _address_on_this_machine() -> str:
    """Address of the Ray of this machine, as Ray itself finds it.

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
def _own_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM: that of Ray prints a stack trace and aborts."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _silence_lost_workers() -> Callable[[], object]:
    """Stop Ray from printing every lost worker to standard output at any log level; failures report them.

    Returns:
        A function that restores the printing.
    """
    worker: Any = importlib.import_module("ray._private.worker")
    before = getattr(worker, "print_to_stdstream", None)
    if before is None:
        return lambda: None
    worker.print_to_stdstream = lambda *_, **__: None
    return lambda: setattr(worker, "print_to_stdstream", before)


# -- in the driver -----------------------------------------------------------------------------------------------------


@dataclass
class _Running:
    """A task in a queue of Ray's, or running."""

    task: Task
    number: int
    nodes_lost: int
    late: bool = False


class _Dispatcher:
    """Sends a limited number of tasks at a time to Ray, and collects their results.

    Args:
        ray: the connected module.
        setup: of each worker.
        timeout: seconds per task; None for no limit.
    """

    def __init__(self, ray: Any, setup: RaySetup, timeout: float | None) -> None:
        self.ray = ray
        self.setup = setup
        self.timeout = timeout
        self.running: dict[Any, _Running] = {}
        self.sent = 0
        self.cores = 0
        self.checked = -_TICK
        kept = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        self.environment = {"env_vars": ONE_THREAD | kept}
        # max_calls=0: else Ray ends the process of a GPU task after each one, and with it the features it holds.
        self.on_cpu, self.on_gpu = (
            ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, max_calls=0)(run_in_worker) for gpus in (0, 1)
        )
        self.timer = None if timeout is None else self._start_timer()

    def run(self, tasks: Iterable[Task], limit: int) -> Results:
        """Run tasks.

        Args:
            tasks: to run.
            limit: maximum number of tasks at a time; 0 for two per core of the cluster, so that no core idles.
        """
        waiting = iter(tasks)
        lost: deque[_Running] = deque()
        try:
            while True:
                self._send(waiting, lost, limit or self._twice_the_cores())
                if not self.running:
                    return
                for ended, failure in self._ended():
                    if failure is _NODE_DIED and ended.nodes_lost < _NODES_LOST:
                        lost.append(ended)
                    else:
                        yield ended.task, failure
                self._stop_late()
        finally:
            self._cancel()

    def _send(self, waiting: Iterator[Task], lost: deque[_Running], limit: int) -> None:
        while len(self.running) < limit:
            if lost:
                ended = lost.popleft()
                self._launch(ended.task, ended.nodes_lost + 1)
            elif (task := next(waiting, None)) is not None:
                self._launch(task, 0)
            else:
                return

    def _launch(self, task: Task, nodes_lost: int) -> None:
        on_gpu = task.device.startswith("cuda")
        if on_gpu and self.ray.cluster_resources().get("GPU", 0) < 1:
            raise ConfigError(f"the Ray cluster has no GPU for {task.name}", hint="--device cpu, or nodes with GPUs")
        self.sent += 1
        remote = (self.on_gpu if on_gpu else self.on_cpu).options(name=task.name, runtime_env=self.environment)
        self.running[remote.remote(task, self.setup, self.timer, self.sent)] = _Running(task, self.sent, nodes_lost)

    def _twice_the_cores(self) -> int:
        """Twice the present number of cores: nodes come and go."""
        if time.monotonic() - self.checked >= _TICK:
            self.checked = time.monotonic()
            self.cores = int(self.ray.cluster_resources().get("CPU", 0))
        return max(2, 2 * self.cores)

    def _ended(self) -> Iterator[tuple[_Running, Failure | None]]:
        """Tasks that have ended, after a short wait."""
        tick = _TICK if self.timeout is None else min(_TICK, self.timeout / 4)
        done, _ = self.ray.wait(list(self.running), num_returns=1, timeout=tick)
        if done:
            done, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        for ref in done:
            ended = self.running.pop(ref)
            yield ended, self._outcome(ref, ended)

    def _outcome(self, ref: Any, ended: _Running) -> Failure | None:
        try:
            failure: Failure | None = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            return Failure(one_line(error.cause), str(error))
        except self.ray.exceptions.RayError as error:
            if ended.late and self.timeout is not None:
                return Failure.late(self.timeout, "")
            return _system_failure(self.ray.exceptions, error)
        return failure

    def _cancel(self) -> None:
        """Cancel what is running: first with an interrupt, so that leases are released, then by force."""
        left = list(self.running)
        self.running.clear()
        if not left or not self.ray.is_initialized():
            return
        for ref in left:
            self.ray.cancel(ref)
        _, left = self.ray.wait(left, num_returns=len(left), timeout=_GRACE)
        for ref in left:
            self.ray.cancel(ref, force=True)

    def _start_timer(self) -> Any:
        """Start the timer on the head node, whose loss ends the cluster anyway; it takes no core."""
        actor = self.ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(TaskTimer)
        return actor.options(runtime_env=self.environment).remote()

    def _stop_late(self) -> None:
        if self.timer is None or not self.running:
            return
        oldest = min(each.number for each in self.running.values())
        late = set(self.ray.get(self.timer.late.remote(self.timeout, oldest)))
        for ref, each in self.running.items():
            if each.number in late and not each.late:
                each.late = True
                self.ray.cancel(ref, force=True)


class TaskTimer:
    """An actor that records when each task starts; the driver cannot distinguish that from waiting for a core."""

    def __init__(self) -> None:
        self.started: dict[int, float] = {}

    def start(self, number: int) -> None:
        """Record the start of a task."""
        self.started[number] = time.monotonic()

    def late(self, limit: float, oldest: int) -> list[int]:
        """Return the tasks that started more than ``limit`` seconds ago; those before ``oldest`` have ended."""
        self.started = {number: started for number, started in self.started.items() if number >= oldest}
        return [number for number, started in self.started.items() if time.monotonic() - started > limit]


def _system_failure(errors: Any, error: BaseException) -> Failure:
    """Failure of a task for an error of Ray's own."""
    if isinstance(error, errors.NodeDiedError | errors.ObjectLostError):
        return _NODE_DIED
    if isinstance(error, errors.OutOfMemoryError):
        return Failure("its machine ran out of memory, and its process was stopped", str(error), retryable=True)
    if isinstance(error, errors.WorkerCrashedError):
        return Failure("its process died", str(error), retryable=True)
    return Failure(cause_of(error), str(error), retryable=not isinstance(error, errors.RuntimeEnvSetupError))


# -- in a worker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RaySetup:
    """Settings of a worker.

    Attributes:
        code: imported first.
        folder: the driver's working folder.
        token: names the files that show whether storage is shared.
        memory: GiB per worker; 0 for no limit, None for its share of the available memory of its machine.
    """

    code: Code
    folder: str
    token: str
    memory: float | None = None


@watched_interrupts()
def run_in_worker(task: Task, setup: RaySetup, timer: Any, number: int) -> Failure | None:
    """Run one task in a worker.

    Args:
        task: to run.
        setup: of the worker.
        timer: the :class:`TaskTimer` actor, or None.
        number: of the task, for the timer.
    """
    if memory_exhausted():
        os._exit(OUT_OF_MEMORY)  # the task goes to another process
    on_gpu = task.device.startswith("cuda")
    try:
        _set_up(setup, on_gpu)
        for root in _roots(task):
            _check_shared(root, setup.token)
    except component_errors() as error:
        return Failure.of(error)
    if timer is not None:
        timer.start.remote(number)
    if on_gpu:
        task = replace(task, device="cuda:0")  # Ray shows a worker the GPU that it is given, and no other
    return attempt(task, lambda _: None)


@lru_cache(maxsize=1)
def _set_up(setup: RaySetup, on_gpu: bool) -> None:
    """Set up this process, once. Relative paths mean the same as in the driver."""
    with suppress(OSError):  # where the folder is not shared, relative paths fail by themselves
        os.chdir(setup.folder)
    load_libraries()  # before the ceiling, which does not include them
    if setup.memory is not None:
        set_ceiling(setup.memory or None)
    else:  # none on a GPU: its driver takes address space far beyond what it uses
        set_ceiling(None if on_gpu else share(os.cpu_count() or 1))
    single_thread()
    setup.code.load()


@lru_cache
def _check_shared(root: Path, token: str) -> None:
    """Check that this machine sees the driver's folder: results that are written elsewhere would be lost.

    Raises:
        DataError: if it does not.
    """
    if not _probe(root, token).exists():
        raise DataError(
            f"machine {socket.gethostname()} does not see {root} as the machine that started the run does",
            hint="the run folder and the cache (FUSIONKIT_CACHE) must be on storage that all machines share",
        )


@contextmanager
def shared(tasks: Sequence[Task]) -> Iterator[str]:
    """Write a file into every folder that tasks share, so that workers can check that they see the same folder.

    Yields:
        The token that names the files.

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
