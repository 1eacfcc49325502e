from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusionkit.errors import CellError, ConfigError, DataError
from fusionkit.training import loader
from fusionkit.training.batches import Batches, Share
from fusionkit.training.images import CachedImages, Images, JoinedImages
from fusionkit.training.loader import PerWorker, reported_deaths, shared_array, shared_lock


class SharedList:
    """Numbers that several processes append."""

    def __init__(self) -> None:
        self.memory, self.count = shared_array((10_000,), np.int64), shared_array((1,), np.int64)
        self.lock = shared_lock()

    def append(self, number: int) -> None:
        with self.lock:
            self.memory[self.count[0]] = number
            self.count += 1

    def __iter__(self) -> Iterator[int]:
        return iter(self.memory[: self.count[0]].tolist())


class Numbers(Images):
    """Images of one pixel that hold their number; the ones given cannot be read."""

    def __init__(self, count: int, bad: frozenset[int] = frozenset(), name: str = "n") -> None:
        self.count, self.bad, self.name = count, bad, name
        self.reads = SharedList()

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> np.ndarray | None:
        self.reads.append(index)
        return None if index in self.bad else np.full((1, 1, 3), index % 256, np.uint8)

    def where(self, index: int) -> str:
        return f"{self.name}{index}"

    @property
    def fingerprint(self) -> str:
        return f"{self.name}{self.count}"


def sample(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return np.array(image[0, 0, 0], np.int64), np.array(rng.integers(10**9))


def batches(count: int = 20, size: int = 8, bad: frozenset[int] = frozenset(), **options) -> Batches:
    return Batches(Numbers(count, bad), sample, size, seed=3, **options)


def flat(found: list) -> list[tuple[int, int]]:
    """(image, draw) of a step's samples, the micro-batches one after the other."""
    return [pair for batch in found for pair in zip(*(tensor.tolist() for tensor in batch.tensors), strict=True)]


def test_an_epoch_has_each_image_at_most_once_and_the_next_another_order() -> None:
    made = batches()
    assert made.steps_per_epoch == 2
    shown = [row for step in made.steps(0, 4) for row in step[0].rows.tolist()]
    assert len(set(shown[:16])) == len(set(shown[16:])) == 16
    assert shown[:16] != shown[16:]
    values = [value for step in made.steps(0, 4) for value in step[0].tensors[0].tolist()]
    assert values == shown


def test_a_step_is_the_same_wherever_the_run_was_resumed() -> None:
    whole = [flat(step) for step in batches().steps(0, 7)]
    assert len(whole) == 7
    assert [flat(step) for step in batches().steps(5, 7)] == whole[5:]
    assert len({draw for step in whole for _, draw in step}) == 7 * 8  # nobody draws the same


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("workers", [1, 3, 16])
def test_a_step_is_the_same_with_any_number_of_workers(
    workers: int, forks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [flat(s) for s in batches().steps(0, 7)]
    monkeypatch.setattr(loader, "FORKS", loader.FORKS and forks)
    assert [flat(s) for s in batches(workers=workers).steps(0, 7)] == whole


@pytest.mark.skipif(not loader.FORKS, reason="workers are threads here")
def test_a_worker_that_is_killed_ends_the_run_with_a_line() -> None:
    def deadly(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        if os.getpid() != here and image[0, 0, 0] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample(image, rng)

    here = os.getpid()
    with pytest.raises(CellError, match="worker process that reads images died") as caught, reported_deaths():
        list(Batches(Numbers(16), deadly, 8, seed=3, workers=2).steps(0, 40))
    assert "\n" not in str(caught.value)
    del caught  # its traceback holds the workers
    gc.collect()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("forks", [True, False])
def test_an_error_of_a_component_is_a_line_with_its_traceback_as_a_note(
    forks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        if shown[0]:
            raise LookupError("no such clip")
        shown[0] = True
        return sample(image, rng)

    shown = shared_array((1,), bool)
    monkeypatch.setattr(loader, "FORKS", loader.FORKS and forks)
    with pytest.raises(CellError) as caught:
        list(Batches(Numbers(16), wrong, 8, seed=3).steps(0, 2))
    assert str(caught.value) == "making a training sample failed: LookupError: no such clip"
    assert "in wrong" in caught.value.__notes__[0]


def test_threads_end_with_the_run_and_pass_errors_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "FORKS", False)
    with pytest.raises(DataError, match="cannot be read"):
        list(batches(bad=frozenset(range(20)), workers=2).steps(0, 9))
    running = batches(workers=2).steps(0, 100)
    next(running)
    running.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fusionkit-images")]


def test_each_thread_builds_its_own_value_and_builds_it_again_after_a_reset() -> None:
    own = PerWorker(object)
    first = own.value
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: own.value).result()
        assert pool.submit(lambda: own.value).result() is other
    assert own.value is first is not other
    own.reset()
    assert own.value is not first


@pytest.mark.parametrize(("world", "accumulation"), [(2, 1), (1, 4), (2, 2)])
def test_processes_and_micro_batches_divide_a_step(world: int, accumulation: int) -> None:
    shares = [batches(share=Share(rank, world, accumulation)) for rank in range(world)]
    whole = [flat(step) for step in batches().steps(0, 3)]
    for step, parts in enumerate(zip(*(share.steps(0, 3) for share in shares), strict=True)):
        assert [len(part) for part in parts] == [accumulation] * world
        assert sorted(pair for part in parts for pair in flat(part)) == sorted(whole[step])


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size = 8 must be a multiple of 6, for 3 process"):
        batches(share=Share(0, 3, 2))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"7 images .*batch_size = 8"):
        batches(count=7)


def test_an_unreadable_image_is_named_and_replaced_by_the_same_one_each_time() -> None:
    bad = frozenset({2, 5, 11})
    made = batches(bad=bad)
    first = [flat(step) for step in made.steps(0, 4)]
    assert not {image for step in first for image, _ in step} & bad
    assert made.unreadable <= {"n2", "n5", "n11"}
    assert len(made.unreadable) >= 2
    assert [flat(step) for step in batches(bad=bad, workers=4).steps(0, 4)] == first
    for step in batches(bad=bad).steps(0, 4):
        assert step[0].rows.tolist() == step[0].tensors[0].tolist()  # labels are those of what is shown


def test_data_that_cannot_be_read_at_all_are_an_error() -> None:
    with pytest.raises(DataError, match=r"n\d+ and 99 images .*cannot be read"):
        list(batches(bad=frozenset(range(20))).steps(0, 1))


def test_reading_ahead_is_bounded_and_ends_with_the_run() -> None:
    images = Numbers(2000)
    running = Batches(images, sample, 10, seed=0, workers=2).steps(0, 200)
    next(running)
    assert 10 <= len(list(images.reads)) <= 10 * 6 + 1  # one to know the shapes, and two batches ahead of each worker
    running.close()
    assert not multiprocessing.active_children()


def test_joined_images_are_one_after_the_other() -> None:
    joined = JoinedImages([Numbers(2, name="a"), Numbers(3, name="b"), Numbers(1, name="c")])
    assert [joined.where(index) for index in range(len(joined))] == ["a0", "a1", "b0", "b1", "b2", "c0"]
    assert joined.read(4)[0, 0, 0] == 2
    assert joined.fingerprint != JoinedImages([Numbers(3, name="b"), Numbers(2, name="a")]).fingerprint


def test_cached_images_are_read_once_as_far_as_the_budget_goes() -> None:
    images = Numbers(5, frozenset({4}))
    cached = CachedImages(images, budget=3 * 3)
    for _ in range(2):
        values = [cached.read(index) for index in range(5)]
        assert [None if value is None else int(value[0, 0, 0]) for value in values] == [0, 1, 2, 3, None]
    assert list(images.reads) == [0, 1, 2, 3, 4, 3, 4]
    assert (len(cached), cached.where(1), cached.fingerprint) == (5, "n1", "n5")
