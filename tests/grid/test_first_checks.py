"""Components that fusionkit does not provide are checked once before their first bench; what fails is named."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from toy_components import Box, Recorder, Sum, registered, toy_house, toy_plan  # noqa: F401
from typer.testing import CliRunner

import fusionkit
from fusionkit import api
from fusionkit.cli import app
from fusionkit.grid import check_process, first_checks
from fusionkit.grid.first_checks import failed_checks
from fusionkit.registry import FUSIONS
from fusionkit.storage.check_outcomes import failed_checks as kept_failures

pytestmark = [pytest.mark.usefixtures("toy_house"), pytest.mark.slow]

PLUGIN = """
import torch
from torch import nn
from fusionkit.contracts import StackedFusion
from fusionkit.registry import FUSIONS


class Summed(StackedFusion):
    missing = "masked"

    def combine(self, views, present):
        return (views * present[..., None]).sum(1)


@FUSIONS.register_module()
class Good(Summed):
    pass


@FUSIONS.register_module()
class Mixer(Summed):
    def combine(self, views, present):
        summed = super().combine(views, present)
        return summed - {mean}


@FUSIONS.register_module()
class Loose(Summed):
    def __init__(self, in_dims, num_classes, scale=1.0):
        super().__init__(in_dims, num_classes)
        self.weights = [nn.Parameter(torch.full((self.width,), scale))]

    def combine(self, views, present):
        return super().combine(views * self.weights[0], present)
"""
KEYS: dict[str, Any] = {
    "datasets": ["toy-blobs"],
    "extractor": "toy-halves",
    "backbones": ["toy-colours"],
    "regions": ["bottom"],
    "smoothers": ["toy-plain"],
    "reference": "none",
    "recipe": {"epochs": 2},
    "seeds": 1,
}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.replace("{mean}", "summed.mean(0)"), encoding="utf-8")
    return file


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """SPECs of the components that were checked."""
    specs: list[str] = []
    run = first_checks._checked

    def counted(kind: str, spec: Any, *others: Any, **options: Any) -> Any:
        specs.append(str(spec))
        return run(kind, spec, *others, **options)

    monkeypatch.setattr(first_checks, "_checked", counted)
    return specs


def bench(plugin: Path, out: Path, **keys: Any) -> fusionkit.Results:
    return fusionkit.bench(out=out, plugins=[str(plugin)], **{**KEYS, **keys})


def lines(results: fusionkit.Results) -> list[str]:
    return [line for line in results.warnings if "conformance checks" in line]


def failures(**changes: Any) -> list[dict[str, Any]]:
    """Outcomes of the components of a toy grid that fail, each once."""
    rows = failed_checks(toy_plan(seeds=1, reference="none", **changes), cache()).values()
    found = {json.dumps(outcome) for row in rows for outcome in row}
    return [json.loads(outcome) for outcome in sorted(found)]


def cache() -> Path:
    return Path(os.environ["FUSIONKIT_CACHE"])


def listed(plugin: Path) -> dict[str, str]:
    """Line of each fusion of a plugin in ``fusionkit list``, by name."""
    output = CliRunner().invoke(app, ["list", "fusions", "--plugin", str(plugin)]).output
    return {line.split()[1]: line for line in output.splitlines() if str(plugin)[-12:] in line}


def test_a_failed_check_is_named_in_terminal_python_page_and_list(tmp_path: Path, plugin: Path) -> None:
    keys = {**KEYS, "recipe": "epochs=2", "plugin": str(plugin), "fusion": "mixer,good,loose:scale=2.0"}
    flags = {"datasets": "dataset", "backbones": "backbone", "smoothers": "smoother"}
    options = [
        part
        for key, value in keys.items()
        for part in (f"--{flags.get(key, key)}", str(value[0] if isinstance(value, list) else value))
    ]
    out = tmp_path / "run"
    shown = CliRunner().invoke(app, ["bench", "--executor", "serial", "--out", str(out), *options])
    assert shown.exit_code == 0, shown.output
    results = fusionkit.Results(out)
    mixer, loose = lines(results)
    start = f"fusion mixer (file {plugin}) fails 1 of "
    assert mixer.startswith(start)
    assert mixer.endswith(
        f" conformance checks: row_alone_is_row_in_batch; details: fusionkit check --plugin {plugin} fusion/mixer"
    )
    assert int(mixer.removeprefix(start).split()[0]) > 15
    assert loose.endswith(
        f": every_tensor_is_registered; details: fusionkit check --plugin {plugin} fusion/loose:scale=2.0"
    )
    for line in (mixer, loose):
        assert line in shown.output.replace("\n", "")
        assert line in (out / "report.html").read_text(encoding="utf-8").replace("<wbr>", "")
    (out / "report.html").unlink()
    api.report(out, pictures=False)
    assert mixer in (out / "report.html").read_text(encoding="utf-8").replace("<wbr>", "")
    marks = listed(plugin)
    assert [marks[name].endswith("(fails 1 check)") for name in ("good", "mixer", "loose")] == [False, True, True]


def test_the_command_of_the_line_shows_the_failure(plugin: Path) -> None:
    shown = CliRunner().invoke(app, ["check", "--plugin", str(plugin), "fusion/mixer"])
    assert shown.exit_code == 1
    assert "row_alone_is_row_in_batch: fuse()" in shown.output


@pytest.mark.usefixtures("no_page")
def test_an_unchanged_component_is_checked_once(tmp_path: Path, plugin: Path, checked: list[str]) -> None:
    first = bench(plugin, tmp_path / "first", fusions=["mixer", "good"])
    assert sorted(checked) == ["good", "mixer", "toy-blobs", "toy-colours", "toy-halves", "toy-plain"]
    checked.clear()
    second = bench(plugin, tmp_path / "second", fusions=["mixer", "good"])
    assert checked == []
    assert lines(first) == lines(second) != []
    plugin.write_text(PLUGIN.replace("{mean}", "0"), encoding="utf-8")
    assert not listed(plugin)["mixer"].endswith("check)")
    assert lines(bench(plugin, tmp_path / "first", fusions=["mixer", "good"])) == []
    assert sorted(checked) == ["good", "mixer"]


@pytest.mark.usefixtures("no_page")
def test_results_have_the_same_bits_without_checks(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(out: Path) -> dict[str, bytes]:
        bench(plugin, out, fusions=["mixer", "loose"])
        names = ("*_logits.npy", "head.safetensors", "counts.npz", "results.csv")
        return {str(file.relative_to(out)): file.read_bytes() for name in names for file in out.rglob(name)}

    with_checks = stored(tmp_path / "with")
    monkeypatch.setattr(first_checks, "failed_checks", lambda *_: {})
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "other"))
    assert stored(tmp_path / "without") == with_checks
    assert {name.partition("/")[0] for name in with_checks} == {"heads", "cells", "results.csv"}


class Changes(Sum):
    """Changes the state of its process."""

    def combine(self, views: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002  (as below)
        torch.set_num_threads(3)
        os.environ["FUSIONKIT_CHANGED"] = "yes"
        print("printed by a component")  # noqa: T201
        return super().combine(views, present)


def test_checks_leave_this_process_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    def state() -> tuple[Any, ...]:
        legacy = str(np.random.get_state())  # noqa: NPY002  (the state that a component may change)
        numbers = torch.get_rng_state().tolist(), random.getstate(), legacy
        return *numbers, torch.get_num_threads(), cv2.getNumThreads(), dict(os.environ)

    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        with registered(FUSIONS, "toy-changes", Changes):
            plan, before = toy_plan(fusions=["toy-changes"]), state()
            failed_checks(plan, cache())
            assert state() == before
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    assert "printed" not in "".join(capfd.readouterr())


class Ends(Sum):
    """Ends what runs it, in a way that each test sets."""

    end: ClassVar[Callable[[], object]]

    def combine(self, views: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        type(self).end()
        return super().combine(views, present)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (sys.exit, ""),
        (interrupt, ""),
        (lambda: os._exit(3), " (its process ended with exit code 3)"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), " (its process ended with signal 11)"),
        (lambda: time.sleep(60), " (took longer than 1 s)"),
    ],
)
def test_a_check_that_ends_its_process_or_hangs_is_a_failed_check(
    end: Callable[[], object], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, "end", staticmethod(end), raising=False)
    monkeypatch.setattr(first_checks, "_PATIENCE", 1.0)
    with registered(FUSIONS, "toy-ends", Ends):
        began = time.monotonic()
        (failed,) = failures(fusions=["toy-ends"])
        assert time.monotonic() - began < 15
    assert failed["component"] == "toy-ends"
    assert failed["failed"] == [f"builds_and_runs{cause}"]


def test_a_class_of_a_script_is_checked_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "__module__", "__main__")
    with registered(FUSIONS, "toy-typed", Recorder):
        (failed,) = failures(fusions=["toy-typed"])
        assert failed["details"] == "fusionkit.testing.check_fusion('toy-typed')"
        results = eval(failed["details"], {"fusionkit": fusionkit})
    assert [each.check for each in results if each.outcome == "failed" and "docstring" not in each.check] == failed[
        "failed"
    ]


def test_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is used up no further check begins: here after the first gate, whose time does not count."""
    (whole,) = failures(fusions=["toy-raises"])
    assert whole["ran"] > 15
    monkeypatch.setattr(first_checks, "_WAITING", 0.1)
    monkeypatch.setenv("FUSIONKIT_CACHE", f"{cache()}-2")
    monkeypatch.setattr(Ends, "end", staticmethod(lambda: time.sleep(0.05)), raising=False)
    with registered(FUSIONS, "toy-ends", Ends):
        assert failures(fusions=["toy-ends"]) == []
        (kept,) = (
            outcome
            for file in cache().glob("checks/*/*.json")
            if (outcome := json.loads(file.read_bytes()))["name"] == "toy-ends"
        )
    assert 0 < kept["ran"] < 15


def test_components_of_fusionkit_are_not_checked(checked: list[str]) -> None:
    failed_checks(toy_plan(fusions=["plain-concat"], smoothers=["none"], seeds=1), cache())
    assert sorted(checked) == ["toy-blobs", "toy-colours", "toy-halves"]


def test_a_component_that_an_option_names_is_checked(checked: list[str]) -> None:
    failed_checks(
        toy_plan(datasets=["swapped:source=toy-blobs,extractor=toy-halves,classes=sad,regions=top"], seeds=1), cache()
    )
    assert sorted(checked) == ["toy-blobs", "toy-colours", "toy-halves", "toy-plain", "toy-sum"]


def test_an_option_that_is_chosen_on_dev_has_its_first_value(checked: list[str]) -> None:
    assert failures(smoothers=["toy-box:width=auto"]) == []
    assert f"toy-box:width={Box.auto['width'][0]}" in checked


def test_a_large_data_set_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(first_checks, "_FRAMES", 10)
        failures()
    (kept,) = (
        outcome
        for file in cache().glob("checks/*/*.json")
        if (outcome := json.loads(file.read_bytes()))["name"] == "toy-blobs"
    )
    assert kept["failed"] == []
    assert 0 < kept["ran"] < 6


def test_outcomes_of_other_option_sets_share_a_line(tmp_path: Path, plugin: Path) -> None:
    results = bench(plugin, tmp_path / "run", fusions=["loose:scale=2.0", "loose:scale=3.0"])
    (line,) = lines(results)
    assert line.startswith(f"fusion loose:scale=2.0 and 1 more option set (file {plugin}) fails 1 of ")


def test_a_damaged_outcome_is_replaced(plugin: Path, checked: list[str]) -> None:
    failures(plugins=[str(plugin)], fusions=["mixer"])
    for file in cache().glob("checks/*/*.json"):
        file.write_bytes(file.read_bytes()[:-9])
    assert kept_failures(cache()) == {}
    checked.clear()
    (failed,) = failures(plugins=[str(plugin)], fusions=["mixer"])
    assert failed["failed"] == ["row_alone_is_row_in_batch"]
    assert len(checked) == 5


def test_a_cache_that_cannot_be_written_does_not_matter(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    (failed,) = failures(plugins=[str(plugin)], fusions=["mixer"])
    assert failed["failed"] == ["row_alone_is_row_in_batch"]


def test_where_processes_cannot_be_forked_they_are_spawned(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_process, "_METHOD", "spawn")
    monkeypatch.setattr(check_process, "can_spawn", lambda: True)  # the main module of a test runner has no file
    kinds = {"datasets": ["synthetic:train=8,val=8,test=8,clips=1,clip_length=6"], "extractor": "template"}
    rest = {"backbones": ["hog"], "regions": ["mouth"], "smoothers": ["none"]}
    (failed,) = failures(plugins=[str(plugin)], fusions=["mixer"], **kinds, **rest)
    assert failed["failed"] == ["row_alone_is_row_in_batch"]
