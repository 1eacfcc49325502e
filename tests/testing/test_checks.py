"""Every check has a broken toy that fails it and no other check; good toys pass all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from testing import (
    broken_backbones,
    broken_datasets,
    broken_documentation,
    broken_extractors,
    broken_fitted_fusions,
    broken_fusions,
    broken_smoothers,
    broken_tasks,
)
from testing.good_plugins import GOOD, GoodDataset, GoodFitted, GoodFusion, GoodTask, write_faces
from torch import Tensor, nn

from fusionkit.testing import CheckResult, check_component, check_fusion
from fusionkit.testing.documentation import checks_of

# Further toys: other faults that a check finds.
MORE = [
    *(("fusion", *toy) for toy in broken_fusions.MORE),
    *(("smoother", *toy) for toy in broken_smoothers.MORE),
    *(("extractor", *toy) for toy in broken_extractors.MORE),
    *(("backbone", *toy) for toy in broken_backbones.MORE),
    *(("dataset", *toy) for toy in broken_datasets.MORE),
    *(("task", *toy) for toy in broken_tasks.MORE),
]
# Kind, a class that passes its checks, and the broken toys of the checks of this kind.
SUITES: list[tuple[str, type, dict[str, type]]] = [
    ("fusion", GoodFusion, broken_fusions.BROKEN),
    ("fusion", GoodFitted, broken_fitted_fusions.BROKEN),
    ("smoother", GOOD["smoother"][0], broken_smoothers.BROKEN),
    ("extractor", GOOD["extractor"][0], broken_extractors.BROKEN),
    ("backbone", GOOD["backbone"][0], broken_backbones.BROKEN),
    ("dataset", GoodDataset, broken_datasets.BROKEN),
    ("task", GoodTask, broken_tasks.BROKEN),
]


def checked(kind: str, cls: type, folder: Path) -> list[CheckResult]:
    given: dict[str, Any] = {}
    if issubclass(cls, GoodDataset):
        given["root"] = str(write_faces(folder / "faces"))
        given |= {"kinds": (1, 2)} if cls is broken_datasets.TupleOrList else {}
    return check_component(kind, cls, examples=[given] if given else None)


def messages(results: list[CheckResult], outcome: str) -> dict[str, str]:
    return {result.check: result.message for result in results if result.outcome == outcome}


def broken() -> Iterator[Any]:
    for kind, _, toys in [*SUITES, ("fusion", GoodFusion, broken_documentation.BROKEN)]:
        for check, cls in toys.items():
            marks = [pytest.mark.slow] if kind == "fusion" else []  # all checks of a fusion take the longest
            yield pytest.param(kind, check, cls, id=f"{kind}-{check}-{cls.__name__}", marks=marks)
    for kind, check, cls in MORE:
        yield pytest.param(kind, check, cls, id=f"{kind}-{check}-{cls.__name__}")


@pytest.mark.parametrize(("kind", "check", "cls"), list(broken()))
def test_a_broken_toy_fails_its_check_alone(kind: str, check: str, cls: type, tmp_path: Path) -> None:
    failed = messages(checked(kind, cls, tmp_path), "failed")
    ((caught, message),) = failed.items()
    if check == "input_is_not_changed" and caught != check:  # the base class refuses the write in the first call
        assert (caught, "changes its input" in message or "read-only" in message) == ("builds_and_runs", True)
    else:
        assert caught == check, failed
    assert message
    assert "\n" not in message


@pytest.mark.parametrize(("kind", "cls", "toys"), SUITES, ids=lambda value: getattr(value, "__name__", None))
def test_every_check_has_its_broken_toy(kind: str, cls: type, toys: dict[str, type]) -> None:
    names = [check.name for check in checks_of(kind, cls)]
    assert set(names) == {*broken_documentation.BROKEN, *toys}
    assert len(set(names)) == len(names)
    assert all(check.summary.endswith(".") for check in checks_of(kind, cls))


@pytest.mark.parametrize("kind", GOOD)
def test_good_toys_pass_every_check_and_no_check_is_skipped_by_all(kind: str, tmp_path: Path) -> None:
    made = set()
    for cls in GOOD[kind]:
        (tmp_path / cls.__name__).mkdir()
        results = checked(kind, cls, tmp_path / cls.__name__)
        assert messages(results, "failed") == {}, cls
        assert len(results) == len(list(checks_of(kind, cls))), cls
        assert all(result.message for result in results if result.outcome == "skipped"), cls
        made |= messages(results, "passed").keys()
    assert {check.name for check in checks_of(kind)} == made


@pytest.mark.parametrize("cls", [GoodFusion, GoodFitted])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_fusion_of_a_fixed_number_of_views_passes(
    cls: type[Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other numbers are refused when it is built, which is no failure."""
    monkeypatch.setattr(cls, "min_views", count)
    monkeypatch.setattr(cls, "max_views", count)
    results = check_component("fusion", cls)
    assert messages(results, "failed") == {}
    skipped = messages(results, "skipped")
    assert f"{cls.__name__} takes {count} view" in skipped["twelve_views"]
    assert ("one_view" in skipped) == (count != 1)
    assert ("views_of_different_widths" in skipped) == (count != 2)


class LowRankWithLists(GoodFusion):
    """Products of projections with factors in a plain list, as in two well-known toolboxes."""

    symmetric = None

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.factors = [nn.Parameter(torch.randn(2, self.width, self.width)) for _ in in_dims]
        self.weights = {"fusion": nn.Parameter(torch.randn(2))}

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        product = torch.ones_like(views[:, 0]).unsqueeze(0)
        for index, factor in enumerate(self.factors):
            product = product * (1 + views[:, index] @ factor)
        return torch.einsum("r,rbd->bd", self.weights["fusion"], product) * self.gain


def test_factors_in_a_plain_list_are_named() -> None:
    results = check_fusion(LowRankWithLists)
    failed = messages(results, "failed")
    assert set(failed) == {"docstring_names_a_reference", "every_tensor_is_registered"}
    message = failed["every_tensor_is_registered"]
    assert all(f"self.factors[{index}]" in message for index in range(3))
    assert "self.weights['fusion']" in message
    assert "gain" not in message
    later = messages(results, "skipped")["state_dict_round_trip"]
    assert later.startswith("every_tensor_is_registered fails and may explain this failure: state_dict() ")
