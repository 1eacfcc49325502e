"""Ray does what one process does, bit for bit, though nodes die; faults and interruptions stay with their tasks."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fusionkit.api import execute, prepare
from fusionkit.errors import ConfigError
from fusionkit.grid import ray_executor
from fusionkit.grid.executors import Executor, Serial
from fusionkit.grid.progress import Progress
from fusionkit.grid.ray_executor import RayExecutor
from fusionkit.grid.run import _Run
from fusionkit.grid.tasks import Code, Failure

NOTHING = Code((), ())
STORE = 80 * 2**20


@dataclass(frozen=True)
class Chore:
    """A task that notes each time it begins, and does one thing."""

    name: str
    act: str
    cache: Path
    device: str = "cpu"
    steps: int = 2

    @property
    def notes(self) -> Path:
        return self.cache / f"{self.name}.txt"

    def note(self, text: str) -> None:
        with self.notes.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")

    def run(self, advance: Any) -> Failure | None:
        self.note("began")
        getattr(self, self.act)()
        return None

    def works(self) -> None:
        import torch

        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.note(" ".join([*(os.environ[name] for name in names), str(torch.get_num_threads()), str(Path.cwd())]))

    def raises(self) -> None:
        raise RuntimeError("a bug in the plugin")

    def exits(self) -> None:
        os._exit(3)

    def swells(self) -> None:
        raise MemoryError("too much")

    def grows(self) -> None:
        import numpy as np

        hoard = []
        while True:
            hoard.append(np.ones(2**20))

    def quits(self) -> None:
        sys.exit("enough")

    def sleeps(self) -> None:
        time.sleep(600)

    def naps(self) -> None:
        time.sleep(1.0)

    def spins(self) -> None:
        try:
            while True:
                time.sleep(0.01)
        finally:
            self.note("let go")


@dataclass
class House:
    """A cluster of three nodes on this machine: a head that does no work, and two workers of one core."""

    cluster: Any

    def add(self) -> None:
        self.cluster.add_node(num_cpus=1, object_store_memory=STORE)

    def kill(self, raylet: int) -> None:
        """Kill the node of this raylet's process, as a power cut does."""
        (node,) = [node for node in self.cluster.worker_nodes if raylet in pids(node)]
        self.cluster.remove_node(node, allow_graceful=False)


def pids(node: Any) -> set[int]:
    return {info.process.pid for infos in node.all_processes.values() for info in infos}


@pytest.fixture(scope="module", autouse=True)
def private_ray() -> Iterator[None]:
    """Ray reads these when it is first imported. Without a token it would make one, and leave it in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fusionkit[ray]'")
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    house = House(Cluster(initialize_head=True, head_node_args=head))
    house.add()
    house.add()
    connection = RayExecutor(house.cluster.address, 0, None, NOTHING)
    connection.connect()
    yield house
    connection.close()
    house.cluster.shutdown()


def executor(
    house: House,
    workers: int = 0,
    timeout: float | None = None,
    code: Code = NOTHING,
    memory: float | None = None,
) -> RayExecutor:
    return RayExecutor(house.cluster.address, workers, timeout, code, memory=memory)


def began(chore: Chore) -> int:
    return chore.notes.read_text(encoding="utf-8").splitlines().count("began")


# -- results -----------------------------------------------------------------------------------------------------------

# The first head of this kind that finds the file "armed" waits for its node to die; all others go through.
PLUGIN = """
import os, time
from pathlib import Path
from fusionkit.contracts import StackedFusion
from fusionkit.registry import FUSIONS

@FUSIONS.register_module()
class Waits(StackedFusion):
    def combine(self, views, present):
        if self.training:
            self.wait(Path(__file__).parent)
        return views.mean(1)

    def wait(self, folder):
        try:
            (folder / "armed").rename(folder / "caught")
        except FileNotFoundError:
            return
        (folder / "raylet").write_text(str(os.getppid()))
        (folder / "raylet").rename(folder / "raylet.txt")
        time.sleep(120)
"""


def grid(folder: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, who: Executor) -> dict[str, bytes]:
    """Run a small grid in a folder with a cache of its own; the files that must repeat."""
    monkeypatch.setenv("FUSIONKIT_CACHE", str(folder / "cache"))
    monkeypatch.setattr(_Run, "_executor", lambda *_: who)
    keys = {
        "datasets": ["synthetic:train=8,val=6,test=6,clips=4,clip_length=8"],
        "regions": ["eye"],
        "fusions": ["plain-concat", "mlp", "waits"],
        "recipe": {"epochs": 2},
        "seeds": 1,
        "plugins": [str(plugin)],
    }
    outcome, _ = execute(prepare(overrides=keys, out=folder / "out", device="cpu"), Progress())
    assert outcome.failed == {}
    assert outcome.fitted == 4  # the three fusions, and the main view alone
    wanted = [*folder.rglob("*.npy"), *folder.rglob("*.npz"), *folder.rglob("*.safetensors")]
    wanted += [folder / "out/results.csv", folder / "out/cells.csv"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in wanted}


def test_a_grid_whose_node_dies_gives_the_bits_of_one_process(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "waits.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    alone = grid(tmp_path / "serial", plugin, monkeypatch, Serial())
    (tmp_path / "armed").touch()
    failures = []
    monkeypatch.setattr(ray_executor, "_system_failure", noted(ray_executor._system_failure, failures))
    with killing(house, tmp_path / "raylet.txt"):
        who = executor(house, workers=2, code=Code((str(plugin),), ()))
        assert grid(tmp_path / "ray", plugin, monkeypatch, who) == alone
    assert ray_executor._NODE_DIED in failures
    assert sum(name.endswith("logits.npy") for name in alone) == 2 * 4
    assert not [path for path in tmp_path.rglob("leases/*") if path.is_file()]
    house.add()


def noted(function: Any, results: list[Any]) -> Any:
    def call(*args: Any) -> Any:
        results.append(function(*args))
        return results[-1]

    return call


@contextmanager
def killing(house: House, told: Path) -> Iterator[None]:
    """Kill the node whose raylet is named in a file, as soon as the file is there."""

    def wait() -> None:
        while not told.exists() and not over.wait(0.05):
            continue
        if told.exists():
            house.kill(int(told.read_text(encoding="utf-8")))

    over = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- faults ------------------------------------------------------------------------------------------------------------


def test_faults_stay_with_their_tasks(
    house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    acts = ["works", "raises", "exits", "works", "swells", "sleeps", "works", *["naps"] * 11]
    chores = [Chore(f"{index}-{act}", act, tmp_path) for index, act in enumerate(acts)]
    steps: list[int] = []
    # All of them are out at once, so that the naps wait for a core for longer than one task may take.
    results = list(executor(house, workers=len(acts), timeout=5, memory=0).run(chores, steps.append))  # type: ignore[arg-type]
    found = {task.name: failure for task, failure in results}
    assert len(results) == len(chores)
    assert steps == [2] * len(chores)
    assert [found.pop(chore.name) for chore in chores if chore.act in ("works", "naps")] == [None] * 14
    said = {name: failure.message for name, failure in found.items() if failure}
    assert said == {
        "1-raises": "RuntimeError: a bug in the plugin",
        "2-exits": "its process died",
        "4-swells": "MemoryError: too much",
        "5-sleeps": "took longer than 5 s (--cell-timeout) and was stopped",
    }
    assert 'raise RuntimeError("a bug in the plugin")' in (found["1-raises"] or Failure("", "")).trace
    assert {name for name, failure in found.items() if failure and failure.retryable} == {"2-exits", "4-swells"}
    assert [began(chore) for chore in chores] == [1, 1, 2, 1, 2, 1, 1, *[1] * 11]
    assert chores[0].notes.read_text(encoding="utf-8").splitlines()[1] == f"1 1 1 1 {tmp_path}"
    assert capfd.readouterr().out == ""


def test_a_worker_that_takes_too_much_memory_loses_its_own_task(house: House, tmp_path: Path) -> None:
    chores = [Chore(f"{index}-{act}", act, tmp_path) for index, act in enumerate(["works", "grows", "quits", "works"])]
    results = executor(house, memory=0.25).run(chores, lambda _: None)  # type: ignore[arg-type]
    found = {task.name: failure.message for task, failure in results if failure}
    grown = found.pop("1-grows")
    assert grown.startswith("ran out of the 0.25 GiB that a worker may use (--worker-memory): ")
    assert "Unable to allocate 8.00 MiB" in grown
    assert found == {"2-quits": "SystemExit: enough"}
    assert [began(chore) for chore in chores] == [1, 2, 1, 1]


def test_few_tasks_are_out_at_a_time(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out: list[int] = []
    launch = ray_executor._Dispatcher._launch

    def counted(self: Any, *args: Any) -> None:
        launch(self, *args)
        out.append(len(self.running))

    monkeypatch.setattr(ray_executor._Dispatcher, "_launch", counted)
    for workers, most in ((0, 2 * 2), (3, 3)):
        out.clear()
        chores = [Chore(f"{workers}-{index}", "works", tmp_path) for index in range(25)]
        results = list(executor(house, workers).run(chores, lambda _: None))  # type: ignore[arg-type]
        assert {task.name for task, failure in results if failure is None} == {chore.name for chore in chores}
        assert max(out) == most
        assert len(out) == 25


def test_an_interruption_stops_what_is_out_and_lets_it_clean_up(house: House, tmp_path: Path) -> None:
    chores = [Chore("first", "works", tmp_path), *(Chore(f"spin-{index}", "spins", tmp_path) for index in range(9))]

    def interrupt(_: int) -> None:
        limit = time.monotonic() + 120
        while not any(chore.notes.exists() for chore in chores[1:]) and time.monotonic() < limit:
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(executor(house).run(chores, interrupt))  # type: ignore[arg-type]
    notes = [chore.notes.read_text(encoding="utf-8") for chore in chores[1:] if chore.notes.exists()]
    assert "began\nlet go\n" in notes
    assert len(notes) < 4  # two cores: the rest never began
    after = Chore("after", "works", tmp_path)
    assert [failure for _, failure in executor(house).run([after], lambda _: None)] == [None]  # type: ignore[list-item]


def test_a_folder_that_workers_do_not_see_is_refused(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def private(_: Any) -> Iterator[str]:
        yield "no-such-token"

    monkeypatch.setattr(ray_executor, "shared", private)
    chore = Chore("lonely", "works", tmp_path)
    ((_, failure),) = executor(house).run([chore], lambda _: None)  # type: ignore[list-item]
    assert failure is not None
    assert f"does not see {tmp_path} as the machine that started the run does" in failure.message
    assert "must be on storage that all machines share" in failure.message
    assert not chore.notes.exists()


def test_code_that_cannot_be_loaded_fails_its_tasks(house: House, tmp_path: Path) -> None:
    chore = Chore("coded", "works", tmp_path)
    code = Code((), ("no_such_module_anywhere",))
    ((_, failure),) = executor(house, code=code).run([chore], lambda _: None)  # type: ignore[list-item]
    assert failure is not None
    assert failure.message.startswith("custom_imports: 'no_such_module_anywhere' cannot be imported")


def test_a_gpu_that_the_cluster_has_not_is_not_waited_for(house: House, tmp_path: Path) -> None:
    chore = Chore("fast", "works", tmp_path, device="cuda:0")
    with pytest.raises(ConfigError, match="the Ray cluster has no GPU for fast"):
        list(executor(house).run([chore], lambda _: None))  # type: ignore[list-item]


# -- connections -------------------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys
from dataclasses import dataclass
from pathlib import Path
from fusionkit.grid.ray_executor import RayExecutor
from fusionkit.grid.tasks import Code

@dataclass(frozen=True)
class Hello:
    cache: Path
    name: str = "hello"
    device: str = "cpu"
    steps: int = 1

    def run(self, advance):
        print("noise from a worker")
        if os.environ.get("LOADED") != "yes":
            raise RuntimeError("the plugin was not loaded")

if __name__ == "__main__":
    import signal
    before = signal.getsignal(signal.SIGTERM)
    who = RayExecutor(None if sys.argv[1] == "local" else sys.argv[1], 1, 60, Code(("plugin.py",), ()))
    failures = [failure for _, failure in who.run([Hello(Path("shared"))], lambda _: None)]
    import ray
    nodes = len(ray.nodes())
    assert signal.getsignal(signal.SIGTERM) is before
    who.close()
    print(failures, nodes, ray.is_initialized(), sorted(path.name for path in Path("shared").rglob("*")))
"""


@pytest.mark.parametrize("where", ["local", "cluster"])
def test_a_ray_is_started_or_joined_quietly_and_left_as_it_was(house: House, tmp_path: Path, where: str) -> None:
    (tmp_path / "hello.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "plugin.py").write_text('import os\nos.environ["LOADED"] = "yes"\n', encoding="utf-8")
    address = house.cluster.address if where == "cluster" else "local"
    words = [sys.executable, "hello.py", address]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[None\] (\d+) False \['leases'\]\n", done.stdout), done.stdout
    assert (done.stdout.split()[1] == "1") == (where == "local")
    assert done.stderr == ""


ADDRESSES = [
    ("127.0.0.1:9", r"no Ray answers at 127\.0\.0\.1:9: Connection refused \(is `ray start` running there\?\)"),
    ("ray://127.0.0.1:9", r"no Ray answers at ray://127\.0\.0\.1:9: Connection refused .*"),
    ("[::1]:9", r"no Ray answers at \[::1\]:9: .*"),
    ("no-such-host.invalid:6379", r"no Ray answers at no-such-host\.invalid:6379: .*"),
    ("auto", r"no Ray answers at auto \([0-9.]+:9\): Connection refused .*"),
    ("somewhere", r"--ray-address 'somewhere' is no address \(auto, host:port or ray://host:port\)"),
    ("http://host:80/x", r"--ray-address 'http://host:80/x' is no address .*"),
    ("host:99999", r"no Ray answers at host:99999: .*"),
]


@pytest.mark.parametrize(("address", "message"), ADDRESSES)
def test_an_address_without_a_ray_is_refused_at_once(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fusionkit[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        RayExecutor(address, 0, None, NOTHING).connect()
    assert time.monotonic() - started < 60, "Ray itself waits two minutes"
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


# -- kills -------------------------------------------------------------------------------------------------------------


def test_a_driver_that_is_killed_loses_nothing(chaos: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'fusionkit[ray]'")
    report = chaos.Chaos(tmp_path, None, ("ray",), seed=0).run(3)
    assert report.wrong == [], report.left
    assert report.kills >= 3
