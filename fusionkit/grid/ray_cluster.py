"""The way to a Ray: one that runs already, or one that is started on this machine; quietly, and refused in one line."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fusionkit.errors import ConfigError, cause_of

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
