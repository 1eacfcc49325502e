from __future__ import annotations

from pathlib import Path

from fusionkit.training.run_folder import LossLog
from fusionkit.training.schedule import Schedule

SCHEDULE = Schedule(peak=0.3, steps=6, warmup=3)


def test_a_line_a_step_with_epoch_and_rate(tmp_path: Path) -> None:
    with LossLog(tmp_path / "losses.csv", SCHEDULE, 2, []) as log:
        for loss in (1.5, 0.1 + 0.2, 1e-7):
            log.add(loss)
        lines = (tmp_path / "losses.csv").read_text().splitlines()  # there while the run goes on
    assert lines == [
        "step,epoch,lr,loss",
        "1,1,0.0,1.5",
        "2,1,0.09999999999999999,0.30000000000000004",
        f"3,2,{SCHEDULE.at(2)!r},1e-07",
    ]


def test_going_on_replaces_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    with LossLog(path, SCHEDULE, 2, []) as log:
        for loss in (4.0, 3.0, 2.0, 1.0):
            log.add(loss)
    whole = path.read_bytes()
    path.write_text("spoilt")
    with LossLog(path, SCHEDULE, 2, [4.0, 3.0]) as log:
        assert len(path.read_text().splitlines()) == 3
        log.add(2.0)
        log.add(1.0)
        assert log.losses == [4.0, 3.0, 2.0, 1.0]
    assert path.read_bytes() == whole


def test_a_process_without_a_file_writes_nothing(tmp_path: Path) -> None:
    with LossLog(None, SCHEDULE, 2, [1.0]) as log:
        log.add(0.5)
    assert log.losses == [1.0, 0.5]
    assert not list(tmp_path.iterdir())
