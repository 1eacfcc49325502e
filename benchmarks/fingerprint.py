"""What does it cost to know that images have not changed?

``python benchmarks/fingerprint.py`` writes small files, and times the identity of their content with an empty index
(every file is read) and with a full one (every file is asked for its size and times). Times per million are linear in
the number of files.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from fusionkit.storage.file_index import kept_hashes

FOLDERS = 20


def write(root: Path, count: int, size: int) -> list[str]:
    """Write files of about ``size`` bytes, as face crops are, and return their paths."""
    rng = random.Random(0)
    paths = []
    for number in range(count):
        path = root / f"{number % FOLDERS:03d}" / f"{number:07d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randint(size // 2, 3 * size // 2)))
        paths.append(str(path))
    return paths


def seconds(root: Path, paths: list[str]) -> float:
    began = time.perf_counter()
    for _ in kept_hashes(str(root), paths):
        pass
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = f"{folder}/cache"
        root = Path(folder, "images")
        root.mkdir()
        paths = write(root, options.files, options.bytes)
        time.sleep(3)  # files that were just written are not kept
        for name in ("cold", "warm", "warm"):
            taken = seconds(root, paths)
            print(f"{name}: {taken:.2f} s for {len(paths):,} files, {taken / len(paths) * 1e6:.0f} s per million")
        size = sum(file.stat().st_size for file in Path(folder, "cache/images").iterdir())
        print(f"index: {size / len(paths):.0f} bytes per file")


if __name__ == "__main__":
    main()
