"""Where seeds are trained together, a grid has the heads that it has otherwise; heads that refuse are trained alone.

That is so on a GPU; here the CPU is counted as one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid import run as run_module
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.run import RunOptions
from fusionkit.grid.tasks import StackTask

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of heads in each stack."""
    sizes: list[int] = []
    running = StackTask.run

    def noted(task: StackTask, *given: object) -> object:
        sizes.append(len(task.heads))
        return running(task, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "_STACKING", ("cpu",))
    monkeypatch.setattr(StackTask, "run", noted)
    return sizes


def test_seeds_are_trained_together_to_the_heads_that_they_have_alone(
    tmp_path: Path, stacked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"fusions": ["toy-sum", "toy-forest"], "seeds": 3, "recipe": {"epochs": 3}}
    together, _ = carry_out(toy_plan(**grid), tmp_path / "together")
    assert stacked == [3, 3, 3]  # the reference row, toy-sum and toy-forest
    assert (together.fitted, together.failed) == (9, {})
    assert [note for note in together.notes if "one at a time" in note] == [
        "toy-forest: its seeds were trained one at a time, not together: it is fitted on all frames at once"
    ]
    monkeypatch.setattr(run_module, "_STACKING", ())
    plan = toy_plan(**grid)
    carry_out(plan, tmp_path / "alone")
    one, other = RunFolder(tmp_path / "together"), RunFolder(tmp_path / "alone")
    for head in plan.heads:
        found, expected = one.read_logits(head), other.read_logits(head)
        np.testing.assert_allclose(found.test, expected.test, atol=1e-4)
    again, _ = carry_out(toy_plan(**grid), tmp_path / "together")
    assert (again.fitted, again.heads_reused) == (0, 9)


def test_a_head_that_fails_in_a_stack_fails_alone_and_is_named(tmp_path: Path, stacked: list[int]) -> None:
    plan = toy_plan(fusions=["toy-raises", "toy-sum"], seeds=2, recipe={"epochs": 1})
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert stacked == [2, 2, 2]
    assert outcome.fitted == 4
    assert len(outcome.failed) == 2
    assert all("gates are shut" in message for message in outcome.failed.values())


def test_fail_fast_names_the_failing_head_not_the_stack(tmp_path: Path, stacked: list[int]) -> None:
    plan = toy_plan(fusions=["toy-raises"], seeds=2, recipe={"epochs": 1})
    with pytest.raises(Exception, match="gates are shut") as caught:
        carry_out(plan, tmp_path / "run", options=RunOptions(fail_fast=True))
    assert "more" not in str(caught.value)
    assert stacked
