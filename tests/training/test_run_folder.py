from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusionkit.errors import ConfigError
from fusionkit.training.run_folder import TrainingFolder

RUN = {"data": ["faces"], "recipe": {"epochs": 3, "lr": 0.1}, "size": (1, 2)}


def test_a_run_is_noted_with_each_session(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "new" / "run")
    folder.begin(RUN, {"device": "cpu"})
    folder.begin(RUN, {"device": "cuda:0"})
    content = json.loads(folder.config.read_text())
    assert content["run"] == {**RUN, "size": [1, 2]}
    assert content["sessions"] == [{"device": "cpu"}, {"device": "cuda:0"}]


def test_another_run_is_refused_by_the_keys_in_which_it_differs(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.begin(RUN, {})
    before = folder.config.read_bytes()
    with pytest.raises(ConfigError, match=r"another run; it differs in extra, recipe\.epochs \(choose another --out"):
        folder.begin({**RUN, "recipe": {"epochs": 4, "lr": 0.1}, "extra": 1}, {})
    assert folder.config.read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("mine")
    with pytest.raises(ConfigError, match="something else than a training run"):
        TrainingFolder(tmp_path).begin(RUN, {})
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "run": 3, "sessions": []}'])
def test_a_damaged_config_is_said_so(tmp_path: Path, text: str) -> None:
    folder = TrainingFolder(tmp_path)
    folder.config.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json cannot be read as the config of a training run"):
        folder.begin(RUN, {})


def test_a_later_format_is_said_so(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.config.write_text('{"schema": 99, "run": {}, "sessions": []}')
    with pytest.raises(ConfigError, match="later fusionkit"):
        folder.begin(RUN, {})
