"""What does a sample of pre-training cost a worker? Processor time of its parts, beside OpenCV's own.

    python benchmarks/training_samples.py

JPEG files of 256 px are read, and cut to 224 px as in ``pretrain/mae_face_vitb``. OpenCV's floor reads the same files,
decodes them and resizes the same boxes with INTER_CUBIC, which does not antialias. Contestants take turns on the same
images; the least of the repeats counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fusionkit.contracts.image_file import read_image
from fusionkit.grid.tasks import single_thread
from fusionkit.training.batches import Batches
from fusionkit.training.crop import RandomCrop, resize
from fusionkit.training.images import CachedImages, ImageFiles
from fusionkit.training.loader import Sample
from fusionkit.training.mae import draw_order

SIZE, SIDE, PATCHES = 224, 256, 196


def write_faces(folder: Path, count: int) -> ImageFiles:
    """Write JPEG files with the detail of photographs: smoothed noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    return ImageFiles.of_folder(folder)


def floor(paths: list[str], boxes: list[tuple[int, int, int, int]]) -> None:
    """What OpenCV alone needs."""
    for path, (top, left, height, width) in zip(paths, boxes, strict=True):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        cv2.resize(image[top : top + height, left : left + width], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    single_thread()
    with tempfile.TemporaryDirectory() as folder:
        files = write_faces(Path(folder), given.images)
        paths = [files.where(index) for index in range(given.images)]
        crop = RandomCrop(SIZE)

        def sample(image: np.ndarray, rng: np.random.Generator) -> Sample:
            return crop(image, rng), draw_order(PATCHES, rng)

        cached = CachedImages(files, given.images * SIDE * SIDE * 3)
        batch, again = (Batches(images, sample, given.images, seed=0) for images in (files, cached))
        slots = [np.empty((given.images, SIZE, SIZE, 3), np.uint8), np.empty((given.images, PATCHES), np.int64)]
        pictures = [image for image in map(cached.read, range(given.images)) if image is not None]
        boxes = [crop.box(SIDE, SIDE, np.random.default_rng(index)) for index in range(given.images)]
        contestants: dict[str, Callable[[], object]] = {
            "read and decode": lambda: [read_image(Path(path)) for path in paths],
            "resize": lambda: [resize(picture, box, SIZE) for picture, box in zip(pictures, boxes, strict=True)],
            "a sample from a file": lambda: batch._make(0, slots),
            "a sample from memory": lambda: again._make(0, slots),
            "OpenCV: read, decode, resize": lambda: floor(paths, boxes),
        }
        least: dict[str, float] = {}
        for _ in range(given.repeats):
            for name, work in contestants.items():
                least[name] = min(seconds(work), least.get(name, np.inf))
    print("| part | ms an image | images a second and core |\n|---|---|---|")
    for name, took in least.items():
        print(f"| {name} | {1e3 * took / given.images:.2f} | {given.images / took:,.0f} |")
    print(f"\nshare of OpenCV's rate: {least['OpenCV: read, decode, resize'] / least['a sample from a file']:.2f}")


if __name__ == "__main__":
    main()
