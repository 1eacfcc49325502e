from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from fusionkit.errors import DataError, StorageError
from fusionkit.training import checkpoints as checkpoints_module
from fusionkit.training.checkpoints import Checkpoints, optimizer_tensors, restore_optimizer


def save(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in steps:
        whole = torch.arange(6.0).reshape(2, 3) * step
        checkpoints.save(step, {"a": whole, "turned": whole.T.clone()}, {"names": ["x", step]})
    return checkpoints


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def test_the_newest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    found = save(tmp_path, 5, 10).latest()
    assert found is not None
    assert (found.step, found.notes, found.damaged) == (10, {"names": ["x", 10]}, [])
    assert torch.equal(found.tensors["a"], torch.arange(6.0).reshape(2, 3) * 10)
    assert torch.equal(found.tensors["turned"], found.tensors["a"].T)


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, original = threading.Event(), checkpoints_module.write_artifact

    def slow(folder: Path, *args: object) -> None:
        assert go_on.wait(20)
        original(folder, *args)

    monkeypatch.setattr(checkpoints_module, "write_artifact", slow)
    checkpoints, weights = Checkpoints(tmp_path), torch.ones(4)
    checkpoints.save(1, {"w": weights}, {})
    weights += 1  # the next step of training
    assert not list(tmp_path.iterdir())
    go_on.set()
    found = checkpoints.latest()
    assert found is not None
    assert found.tensors["w"].tolist() == [1] * 4


def test_what_could_not_be_written_is_reported_by_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checkpoints = Checkpoints(tmp_path / "file")
    for call in (checkpoints.finish, lambda: checkpoints.save(2, {}, {})):
        checkpoints.save(1, {"w": torch.ones(1)}, {})
        with pytest.raises(StorageError, match="cannot be written"):
            call()


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").latest() is None


def test_two_are_kept_and_partial_files_are_removed(tmp_path: Path) -> None:
    half_written = tmp_path / ".step-000000007.ab12"
    half_written.mkdir()
    (half_written / "tensors.safetensors").write_bytes(b"half")
    save(tmp_path, 998, 999, 1000).finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000999", "step-000001000"]


@pytest.mark.parametrize("file", ["tensors.safetensors", "notes.json", "done.json"])
def test_a_damaged_one_is_skipped(tmp_path: Path, file: str) -> None:
    checkpoints = save(tmp_path, 5, 10)
    checkpoints.finish()
    spoil(tmp_path / "step-000000010" / file)
    found = checkpoints.latest()
    assert found is not None
    assert (found.step, found.damaged) == (5, [str(tmp_path / "step-000000010")])


def test_if_all_are_damaged_training_does_not_start_over(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 5, 10)
    checkpoints.finish()
    for step in (5, 10):
        (tmp_path / f"step-{step:09d}" / "tensors.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match=r"every checkpoint in .* is damaged: .*10, .*5 \(delete "):
        checkpoints.latest()


def descend(weights: list[torch.Tensor], optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        sum(((weight - step) ** 2).sum() for weight in weights).backward()
        optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_a_restored_optimiser_continues_bit_for_bit(tmp_path: Path, kind: type) -> None:
    def begin() -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
        weights = [torch.ones(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {"fused": True}
        groups = [{"params": [weights[0]], "weight_decay": 0.1}, {"params": [weights[1]]}]
        return weights, kind(groups, lr=0.01, **options)

    expected, optimizer = begin()
    descend(expected, optimizer, range(10))

    first, optimizer = begin()
    descend(first, optimizer, range(6))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(6, optimizer_tensors(optimizer), {})
    found = checkpoints.latest()
    assert found is not None
    second, optimizer = begin()
    for weight, value in zip(second, first, strict=True):
        weight.data.copy_(value)
    restore_optimizer(optimizer, {**found.tensors, "model.other": torch.zeros(1)})
    descend(second, optimizer, range(6, 10))
    assert all(torch.equal(a, b) for a, b in zip(expected, second, strict=True))


def test_the_state_of_another_model_is_refused() -> None:
    one = torch.optim.AdamW([torch.ones(1, requires_grad=True)])
    weights = [torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)]
    two = torch.optim.AdamW(weights)
    descend(weights, two, range(1))
    with pytest.raises(DataError, match="2 parameters; expected 1"):
        restore_optimizer(one, optimizer_tensors(two))
