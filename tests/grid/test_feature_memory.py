"""The limit of features: what was asked for, or a share of what machine, GPU and process have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_components import carry_out, registered, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts import Smoother
from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, load_features
from fusionkit.grid import memory as feature_memory
from fusionkit.grid import tasks
from fusionkit.grid.memory import GIB, feature_limit
from fusionkit.grid.run import RunOptions
from fusionkit.registry import SMOOTHERS


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """16 GiB available, no ceiling, 8 cores."""
    monkeypatch.setattr(feature_memory, "available_memory", lambda: 16 * GIB)
    monkeypatch.setattr(feature_memory, "ceiling", lambda: None)
    monkeypatch.setattr(feature_memory.os, "cpu_count", lambda: 8)
    feature_limit.cache_clear()
    yield
    feature_limit.cache_clear()


def test_what_was_asked_for_is_the_limit_of_each_process() -> None:
    assert feature_limit(1.5, 4, "cpu") == 1.5 * GIB


def test_by_default_workers_share_a_quarter_of_what_is_available() -> None:
    assert feature_limit(0, 1, "cpu") == 4 * GIB
    assert feature_limit(0, 4, "cpu") == GIB
    assert feature_limit(0, 0, "cpu") == GIB / 2  # one per core


def test_a_gpu_gives_half_of_what_it_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 * GIB, 24 * GIB))
    assert feature_limit(0, 1, "cuda:0") == 3 * GIB
    assert feature_limit(0, 3, "cuda:0") == GIB


def test_half_of_a_process_own_ceiling_is_not_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_memory, "ceiling", lambda: 3.0)
    assert feature_limit(0, 1, "cpu") == 1.5 * GIB
    assert feature_limit(0, 8, "cpu") == GIB / 2


def test_the_limit_is_settled_once_so_that_features_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = feature_limit(0, 2, "cpu")
    monkeypatch.setattr(feature_memory, "available_memory", lambda: GIB)
    assert feature_limit(0, 2, "cpu") == first


class Leaning(Smoother):
    """Leans to a class by where an embedding points; learned ones are fitted on all dev clips."""

    needs = "embeddings"
    fitted = True

    def fit(self, clips: list[tuple[np.ndarray, np.ndarray]], labels: list[np.ndarray], seed: int) -> None:
        x, y = np.concatenate([clip for clip, _ in clips]), np.concatenate(labels)
        self.means = np.stack([x[y == label].mean(0) for label in range(3)])

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return np.exp(-np.square(x[:, None] - self.means).mean(-1))


COMPARED = ("results.csv", "cells.csv", "heads/*/*_logits.npy", "heads/*/head.safetensors", "cells/*/cell.json")


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for pattern in COMPARED for file in folder.glob(pattern)]
    assert len(files) > 10
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def grid(smoothers: list[str]) -> dict[str, object]:
    return {"fusions": ["toy-sum", "plain-concat"], "smoothers": smoothers, "seeds": 2, "reference": "none"}


@pytest.mark.slow
@pytest.mark.usefixtures("toy_house")
def test_a_grid_gives_the_same_files_whatever_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionkit.report.csv_files import write_csv_files

    loaded: list[FoldFeatures] = []

    def load(*given: object, **named: object) -> FoldFeatures:
        loaded.append(load_features(*given, **named))  # type: ignore[arg-type]
        return loaded[-1]

    monkeypatch.setattr(tasks, "load_features", load)
    found = []
    with registered(SMOOTHERS, "toy-leaning", Leaning):
        for index, memory in enumerate((1.0, 2e-5)):  # 21 KB: features are streamed, dev clips still fit
            plan = toy_plan(**grid(["toy-plain", "toy-leaning"]))
            outcome, results = carry_out(plan, tmp_path / str(index), RunOptions(memory=memory))
            assert not outcome.failed
            write_csv_files(results)
            found.append(contents(tmp_path / str(index)))
    assert [isinstance(features.train, FeaturesInMemory) for features in loaded] == [True, False]  # once for four heads
    assert found[0] == found[1]


@pytest.mark.usefixtures("toy_house")
def test_a_smoother_whose_dev_clips_do_not_fit_says_how_much_it_needs(tmp_path: Path) -> None:
    with registered(SMOOTHERS, "toy-leaning", Leaning):
        plan = toy_plan(**grid(["toy-leaning"]))
        outcome, _ = carry_out(plan, tmp_path, RunOptions(memory=1e-6))
    assert len(outcome.failed) == 4
    message = next(iter(outcome.failed.values()))
    assert "toy-leaning is fitted on all dev clips at once" in message
    assert "above the limit of 0.0 GiB (--memory raises it)" in message
