"""Whatever happens to a stored file, the next run notices it and makes the same bytes again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.errors import DataError
from fusionkit.grid.folder import RunFolder
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.run import Results

pytestmark = pytest.mark.usefixtures("toy_house")

KINDS = {
    *("cache/values.npy", "cache/done.json"),
    *(f"heads/{name}" for name in ("head.safetensors", "dev_logits.npy", "test_logits.npy", "test_complete.npy")),
    *("heads/head.json", "heads/cost.json", "heads/done.json"),
    *("cells/cell.json", "cells/counts.npz", "cells/done.json"),
    *(
        f"folds/{name}.npy"
        for name in ("train", "train_label", "train_unit", "dev", "dev_label", "test", "clip", "number")
    ),
    *("folds/done.json", "failures/*.json", "failures/*.txt"),
    *("grid.json", "grid.copy.json", "results.csv", "cells.csv", "costs.csv"),
}


def flip(file: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def kind(file: Path, run: Path) -> str:
    """Of which kind a stored file is: the folder of its kind, and its name."""
    if not file.is_relative_to(run):
        return f"cache/{file.name}"
    parts = file.relative_to(run).parts
    return f"failures/*{file.suffix}" if parts[0] == "failures" else "/".join(dict.fromkeys((parts[0], parts[-1])))


def stored(run: Path, cache: Path) -> dict[str, Path]:
    """All stored files by their path."""
    files = [file for folder in (run, cache) for file in folder.rglob("*") if file.is_file()]
    return {str(file): file for file in files}


def repeats(file: Path, run: Path) -> bool:
    """Not so what tells of time and memory, or carries its checksum."""
    return kind(file, run) not in {"heads/cost.json", "heads/done.json", "cache/done.json", "costs.csv"}


def finish(run: Path, cache: Path) -> dict[str, bytes]:
    """Run the grid, and read what must repeat."""
    plan = toy_plan(fusions=["toy-sum", "toy-raises"], smoothers=["toy-box:width=auto"], seeds=1)
    outcome, _ = carry_out(plan, run)
    write_csv_files(Results(run))
    assert set(outcome.failed) == {"face,bottom/toy-raises/toy-box:width=auto/0"}
    return {name: file.read_bytes() for name, file in stored(run, cache).items() if repeats(file, run)}


def rounds(examples: dict[str, Path]) -> list[dict[str, Path]]:
    """One file of each folder at a time: what one damaged file shows would not show in another."""
    folders: dict[str, list[str]] = {}
    for name in sorted(examples):
        folders.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    most = max(map(len, folders.values()))
    return [{names[n]: examples[names[n]] for names in folders.values() if n < len(names)} for n in range(most)]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink], ids=lambda damage: damage.__name__)
def test_damage_to_any_stored_file_is_made_good(
    tmp_path: Path, own_cache: Path, damage: Callable[[Path], None]
) -> None:
    run = tmp_path / "run"
    whole = finish(run, own_cache)
    examples = {kind(file, run): file for file in stored(run, own_cache).values()}
    assert set(examples) == KINDS
    damaged: set[str] = set()
    for files in rounds(examples):
        lines = (run / "costs.csv").read_text(encoding="utf-8").count("\n")
        for file in files.values():
            damage(file)
        damaged |= set(files)
        # Embeddings and rows are needed again only where a head is trained: one that is not damaged.
        heads = {file.parent for name, file in files.items() if name.startswith("heads/")}
        shutil.rmtree(next(head for head in (run / "heads").iterdir() if head not in heads))
        assert finish(run, own_cache) == whole, list(files)
        assert (run / "costs.csv").read_text(encoding="utf-8").count("\n") == lines
        assert set(examples) == {kind(each, run) for each in stored(run, own_cache).values()}, list(files)
    assert damaged == KINDS


def test_a_grid_of_which_no_copy_is_sound_is_refused_with_what_to_do(tmp_path: Path, own_cache: Path) -> None:
    run = tmp_path / "run"
    whole = finish(run, own_cache)
    for name in ("grid.json", "grid.copy.json"):
        flip(run / name)
    with pytest.raises(DataError, match=r"grid\.json .*damaged.*move it away and run the grids again"):
        finish(run, own_cache)
    (run / "grid.json").unlink()
    assert finish(run, own_cache) == whole


def test_rows_of_earlier_grids_outlive_damage_to_the_grid(tmp_path: Path) -> None:
    run = tmp_path / "run"
    carry_out(toy_plan(fusions=["toy-sum"], seeds=1), run)
    both = len(carry_out(toy_plan(regions=["top"], fusions=["toy-sum"], seeds=1), run)[1].rows)
    truncate(run / "grid.json")
    assert len(Results(run).rows) == both
    carry_out(toy_plan(fusions=["toy-sum"], seeds=2), run)
    assert len(Results(run).rows) == both
    assert RunFolder(run).load_grid() is not None
