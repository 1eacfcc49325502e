from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusionkit.errors import ConfigError
from fusionkit.training.run_folder import TrainingFolder, loss_log
from fusionkit.training.schedule import WarmupCosine

SCHEDULE = WarmupCosine(peak=0.3, steps=6, warmup=3)
RUN = {"data": ["faces"], "recipe": {"epochs": 3, "lr": 0.1}, "size": (1, 2)}


def test_each_start_of_a_run_is_recorded(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "new" / "run")
    folder.begin(RUN, {"device": "cpu"})
    folder.begin(RUN, {"device": "cuda:0"})
    content = json.loads(folder.config.read_text(encoding="utf-8"))
    assert content["run"] == {**RUN, "size": [1, 2]}
    assert content["starts"] == [{"device": "cpu"}, {"device": "cuda:0"}]


def test_another_run_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.begin(RUN, {})
    before = folder.config.read_bytes()
    with pytest.raises(ConfigError, match=r"another run.*: extra, recipe\.epochs \(.*--out"):
        folder.begin({**RUN, "recipe": {"epochs": 4, "lr": 0.1}, "extra": 1}, {})
    assert folder.config.read_bytes() == before


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not empty"):
        TrainingFolder(tmp_path).begin(RUN, {})
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "run": 3, "starts": []}'])
def test_a_damaged_config_is_reported(tmp_path: Path, text: str) -> None:
    folder = TrainingFolder(tmp_path)
    folder.config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json cannot be read as the config of a training run"):
        folder.begin(RUN, {})


def test_a_later_format_is_reported(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.config.write_text('{"schema": 99, "run": {}, "starts": []}', encoding="utf-8")
    with pytest.raises(ConfigError, match="later fusionkit"):
        folder.begin(RUN, {})


def test_the_log_has_one_line_per_step_with_epoch_and_rate(tmp_path: Path) -> None:
    with loss_log(tmp_path / "losses.csv", SCHEDULE, 2, []) as add:
        for loss in (1.5, 0.1 + 0.2, 1e-7):
            add(loss)
        lines = (tmp_path / "losses.csv").read_text(encoding="utf-8").splitlines()  # written at once
    assert lines == [
        "step,epoch,lr,loss",
        "1,1,0.0,1.5",
        "2,1,0.09999999999999999,0.30000000000000004",
        f"3,2,{SCHEDULE.at(2)!r},1e-07",
    ]


def test_resuming_replaces_the_lines_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    with loss_log(path, SCHEDULE, 2, []) as add:
        for loss in (4.0, 3.0, 2.0, 1.0):
            add(loss)
    whole = path.read_bytes()
    path.write_text("spoilt", encoding="utf-8")
    losses = [4.0, 3.0]
    with loss_log(path, SCHEDULE, 2, losses) as add:
        assert len(path.read_text(encoding="utf-8").splitlines()) == 3
        add(2.0)
        add(1.0)
    assert losses == [4.0, 3.0, 2.0, 1.0]
    assert path.read_bytes() == whole


def test_a_process_without_a_file_writes_nothing(tmp_path: Path) -> None:
    losses = [1.0]
    with loss_log(None, SCHEDULE, 2, losses) as add:
        add(0.5)
    assert losses == [1.0, 0.5]
    assert not list(tmp_path.iterdir())
