"""Kill a run at random moments and see whether anything is lost: the finished run must equal an uninterrupted one.

    python benchmarks/chaos.py --kills 200

A small grid is run to its end once. Then it is started again and again in fresh folders and killed by SIGKILL at random
moments (now the whole process group, now the parent alone), during start-up, embedding, fitting, scoring and writing.
When it has been resumed to its end, ``results.csv``, ``cells.csv`` and every stored logit are compared byte by byte.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

GRID = (
    *("--dataset", "synthetic:train=10,val=8,test=8,clips=4,clip_length=8", "--smoother", "none,window:width=auto"),
    *("--regions", "eye", "--regions", "mouth", "--fusion", "plain-concat,concat:width=16", "--seeds", "3"),
    *("--recipe", "epochs=3"),
)
COMPARED = ("*.csv", "heads/*/*_logits.npy", "heads/*/head.safetensors", "cells/*/cell.json", "cells/*/counts.npz")
UNREPEATABLE = ("costs.csv",)


def start(folder: Path, executor: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "fusionkit",
        "bench",
        *GRID,
        "--executor",
        executor,
        "--workers",
        "2",
        "--out",
        "out",
    ]
    environment = {**os.environ, "FUSIONKIT_CACHE": str(folder / "cache")}
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def kill(process: subprocess.Popen[bytes], whole_group: bool) -> None:
    try:
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
    process.wait()


def stage(folder: Path) -> str:
    """What was under way, as far as the files tell."""
    if not (folder / "out/grid.json").exists():
        return "start-up"
    if not (folder / "out/heads").exists():
        return "embed"
    return "score" if (folder / "out/cells").exists() else "fit"


def contents(out: Path) -> dict[str, bytes]:
    files = (file for pattern in COMPARED for file in out.glob(pattern))
    return {str(file.relative_to(out)): file.read_bytes() for file in files if file.name not in UNREPEATABLE}


def finish(folder: Path, executor: str, whole: dict[str, bytes]) -> list[str]:
    """Resume to the end; the names of files that differ from the uninterrupted run."""
    if start(folder, executor).wait() != 0:
        return [f"the resumed run failed: {(folder / 'log.txt').read_text()[-2000:]}"]
    found = contents(folder / "out")
    return sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--executor", choices=("processes", "serial", "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    started = time.monotonic()
    assert start(base / "whole", "serial").wait() == 0, (base / "whole/log.txt").read_text()
    length = time.monotonic() - started
    whole = contents(base / "whole/out")
    assert whole, "the uninterrupted run left nothing to compare"
    kills, rounds, killed_in, wrong = 0, 0, Counter[str](), []
    while kills < options.kills and not wrong:
        folder, rounds = base / f"round{rounds}", rounds + 1
        executor = draw.choice(("processes", "serial")) if options.executor == "both" else options.executor
        for _ in range(draw.randint(1, 4)):
            process = start(folder, executor)
            time.sleep(draw.uniform(0.1, 1.0) * length)
            if process.poll() is not None:
                break
            killed_in[stage(folder)] += 1
            kill(process, whole_group=draw.random() < 0.5)
            kills += 1
        wrong = finish(folder, executor, whole)
        if wrong:
            print(f"left for inspection: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    where = ", ".join(f"{count} in {name}" for name, count in killed_in.most_common())
    seconds = time.monotonic() - started
    print(f"{kills} kills in {rounds} runs ({where}); {len(whole)} files compared after each; {seconds:.0f} s")
    print("every resumed run equals the uninterrupted one" if not wrong else f"DIFFERENT: {wrong[:10]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
