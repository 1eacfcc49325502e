"""A run checks every stored head once and reads its logits once for all smoothers; the next run checks them again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.folder import RunFolder, StoredLogits
from fusionkit.grid.row import StoredHeads

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """How often each head was checked (all its bytes), and its logits were read."""
    calls: Counter[tuple[str, str]] = Counter()
    has_head, read_logits = RunFolder.has_head, RunFolder.read_logits

    def counted_check(self: RunFolder, head: str) -> bool:
        found = has_head(self, head)
        calls["checked", head] += found
        return found

    def counted_read(self: RunFolder, head: str) -> StoredLogits:
        calls["read", head] += 1
        return read_logits(self, head)

    monkeypatch.setattr(RunFolder, "has_head", counted_check)
    monkeypatch.setattr(RunFolder, "read_logits", counted_read)
    return calls


def test_many_smoothers_check_and_read_every_head_once(tmp_path: Path, looked: Counter[tuple[str, str]]) -> None:
    smoothers = ["toy-plain", "toy-box:width=3", "toy-box:width=9", "toy-box:width=auto"]
    plan = toy_plan(smoothers=smoothers, seeds=2)
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert outcome.scored == 4 * len(plan.heads) == 16
    assert looked == {(what, head): 1 for head in plan.heads for what in ("checked", "read")}
    looked.clear()
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert (outcome.fitted, outcome.scored, outcome.reused) == (0, 0, 16)
    assert looked == {("checked", head): 1 for head in plan.heads}


def test_what_was_damaged_after_it_was_checked_is_noticed_by_the_next_look(tmp_path: Path) -> None:
    plan = toy_plan(seeds=1)
    carry_out(plan, tmp_path / "run")
    head = next(iter(plan.heads))
    folder = RunFolder(tmp_path / "run")
    this_run = StoredHeads(folder)
    assert this_run.has(head)
    file = tmp_path / "run/heads" / head / "head.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert this_run.has(head)
    assert not StoredHeads(folder).has(head)
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert (outcome.fitted, outcome.scored) == (1, 0)
    assert file.read_bytes() == whole


def test_a_head_that_was_not_there_is_looked_for_again(tmp_path: Path) -> None:
    plan = toy_plan(seeds=1)
    heads = StoredHeads(RunFolder(tmp_path / "run"))
    assert not any(heads.has(head) for head in plan.heads)
    carry_out(plan, tmp_path / "run")
    assert all(heads.has(head) for head in plan.heads)


def test_logits_of_heads_that_are_not_kept_are_forgotten(tmp_path: Path, looked: Counter[tuple[str, str]]) -> None:
    plan = toy_plan(seeds=1)
    carry_out(plan, tmp_path / "run")
    one, other = plan.heads
    heads = StoredHeads(RunFolder(tmp_path / "run"))
    looked.clear()
    for head in (one, other, one, other):
        heads.logits(head)
    heads.keep_only({other})
    for head in (one, other):
        heads.logits(head)
    assert (looked["read", one], looked["read", other]) == (2, 1)
