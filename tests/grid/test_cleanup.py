"""What a killed process left half written goes when the next run begins; what somebody may be writing stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.cleanup import remove_partial_files
from fusionkit.storage import artifact
from fusionkit.storage.artifact import half_written, write_artifact, write_file
from fusionkit.storage.lease import STALE, _machine, abandoned, lease

DAY = 24 * 3600.0


def left(target: Path, *, age: float, file: bool = False) -> Path:
    """Something half written, of that age in seconds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = [target]
    if file:
        target.write_bytes(b"half")
    else:
        target.mkdir()
        (target / "values.npy").write_bytes(b"half")
        written = [target / "values.npy", target]
    then = time.time() - age
    for path in written:
        os.utime(path, (then, then))
    return target


@pytest.fixture(scope="module")
def gone() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def hold(path: Path, pid: int, host: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": host or _machine(), "pid": pid}), encoding="utf-8")


PLACES = ["run/heads/.ab12.0123abcd", "run/cells/.ab12.0123abcd", "run/folds/.ab-12.0123abcd"]
PLACES += ["cache/embeddings/k1/.00003.0123abcd"]
FILES = ["run/.results.csv.0123abcd", "run/failures/.ab12.json.0123abcd"]


@pytest.mark.parametrize("target", [*PLACES, *FILES])
def test_what_is_older_than_a_day_goes_and_what_is_younger_stays(tmp_path: Path, target: str) -> None:
    old = left(tmp_path / target, age=DAY + 60, file=target in FILES)
    young = left(old.with_name(old.name[:-1] + "e"), age=DAY - 600, file=target in FILES)
    remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert not old.exists()
    assert [path for path in young.parent.iterdir() if path.name.startswith(".")] == [young]


def test_an_old_folder_into_which_something_was_just_written_stays(tmp_path: Path) -> None:
    target = left(tmp_path / PLACES[0], age=DAY + 60)
    (target / "values.npy").write_bytes(b"more")
    os.utime(target, (0, 0))
    remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert target.exists()


LEASED = [(PLACES[0], "run/leases/ab12"), (PLACES[3], "cache/leases/k1-00003")]


@pytest.mark.parametrize(("target", "lease_file"), LEASED)
def test_what_a_dead_process_of_this_machine_was_at_goes_after_a_minute(
    tmp_path: Path, gone: int, target: str, lease_file: str
) -> None:
    remains, other = left(tmp_path / target, age=STALE + 5), left(tmp_path / "run/heads/.cd.01234567", age=STALE + 5)
    hold(tmp_path / lease_file, gone)
    remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert not remains.exists()
    assert other.exists(), "it has another lease, which nobody left behind"
    young = left(tmp_path / target, age=STALE - 30)
    remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert young.exists()


@pytest.mark.parametrize(("target", "lease_file"), LEASED)
def test_what_a_living_process_or_another_machine_is_at_stays(
    tmp_path: Path, gone: int, target: str, lease_file: str
) -> None:
    written = left(tmp_path / target, age=DAY - 600)
    hold(tmp_path / lease_file, gone, "another machine")
    remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert written.exists()
    (tmp_path / lease_file).unlink()
    with lease(tmp_path / lease_file) as mine:
        assert mine
        assert not abandoned(tmp_path / lease_file)
        remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert written.exists()


def test_only_what_is_named_like_something_half_written_is_looked_at(tmp_path: Path) -> None:
    kept = [
        left(tmp_path / "run" / name, age=10 * DAY)
        for name in (
            "heads/ab12",
            "heads/.ab12",
            "heads/.ab12.0123",
            "heads/ab12.0123abcd",
            ".git",
            "heads/.x.0123ABCD",
        )
    ]
    remove_partial_files(tmp_path / "run", tmp_path / "cache")
    assert all((path / "values.npy").exists() for path in kept)
    assert half_written(tmp_path / "nowhere") == {}


def test_a_write_that_is_under_way_has_the_name_that_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def looks(path: Path, data: bytes) -> None:
        path.write_bytes(data)
        seen.append(list(half_written(tmp_path).values()))

    monkeypatch.setattr(artifact, "_write_synced", looks)
    write_artifact(tmp_path / "ab.12", {"a": b"1"})
    write_file(tmp_path / "grid.json", b"{}")
    assert seen == [["ab.12"], ["ab.12"], ["grid.json"]]
    assert half_written(tmp_path) == {}


@pytest.mark.usefixtures("toy_house")
def test_a_run_begins_by_removing_them(tmp_path: Path) -> None:
    plan = toy_plan(seeds=1, reference="none")
    carry_out(plan, tmp_path / "run")
    key = plan.rows[0].heads[0].embeddings["face"].key
    remains = [
        left(tmp_path / target, age=2 * DAY)
        for target in ("run/heads/.ab12.0123abcd", f"cache/embeddings/{key}/.00000.0123abcd")
    ]
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert (outcome.fitted, outcome.reused) == (0, 1)
    assert not [path for path in remains if path.exists()]
