"""``fusionkit pretrain``: stage 1, a masked autoencoder on faces without labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import err, is_interactive, out, reporting
from fusionkit.cli.options import Debug, Device, Plugins, Settings

if TYPE_CHECKING:
    from fusionkit.training.pretrain import Pretrained
    from fusionkit.training.pretrain_config import PretrainConfig

_NAMED = 5  # unreadable images that are listed


def pretrain(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A config file, or the name of a shipped one: pretrain/tiny.",
            autocompletion=completion.configs("pretrain"),
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA", help="A data set's SPEC, a folder, a .txt list of images, or a video. Repeatable."
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run's folder. Default: runs/pretrain-<config>-<hash>."),
    ] = None,
    set_: Settings = None,
    plugin: Plugins = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Pre-train a vision transformer as a masked autoencoder, on faces without labels.

    The same command again goes on from the last checkpoint. The encoder it writes is a backbone:
    --backbone timm:checkpoint=FILE.

    Examples:

      fusionkit pretrain pretrain/tiny

      fusionkit pretrain pretrain/mae_face_vitb --data faces --data more-faces.txt

      torchrun --nproc-per-node 8 -m fusionkit pretrain pretrain/mae_face_vitb --data faces
    """
    with reporting(debug):
        from fusionkit.config.config_file import find_config, read_config
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.training.pretrain_config import resolve_pretrain

        for file in plugin or ():
            load_plugin_file(file)
        path = find_config(config)
        raw = read_config(path, set_ or (), "pretrain")
        resolved = resolve_pretrain({**raw, "data": data} if data else raw, path.stem)
        folder = out_dir or Path("runs") / f"pretrain-{resolved.name}-{resolved.digest()[:8]}"
        _run(resolved, folder, device)


def _run(config: PretrainConfig, folder: Path, device: str) -> None:
    from fusionkit.api import choose_device
    from fusionkit.cli.training_progress import LossBar, LossLines
    from fusionkit.grid.progress import Progress
    from fusionkit.grid.provenance import provenance
    from fusionkit.training.pretrain import pretrain as train
    from fusionkit.training.processes import speaks

    started = time.monotonic()
    chosen = choose_device(device)
    if not speaks():
        train(config, folder, chosen, provenance(chosen), Progress())
        return
    progress: Any = LossBar(err) if is_interactive() else LossLines(err)
    done = train(config, folder, chosen, provenance(chosen), progress, progress.losing)
    _print(done, folder, time.monotonic() - started)


def _print(done: Pretrained, folder: Path, seconds: float) -> None:
    for note in done.notes:
        err.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True)
    if done.unreadable:
        named = ", ".join(done.unreadable[:_NAMED]) + (", ..." if len(done.unreadable) > _NAMED else "")
        err.print(
            f"[yellow]without an image:[/] {len(done.unreadable)}: {escape(named)}", highlight=False, soft_wrap=True
        )
    trained = done.steps - done.resumed
    what = f"{trained} steps on {done.images} images in {seconds:.1f} s" if trained else "nothing was left to train"
    before = f", after {done.resumed} done before" if trained and done.resumed else ""
    lines = (
        f"{what}{before}; loss {done.losses[0]:.4f} -> {done.losses[-1]:.4f}; curve and pictures in {folder}",
        f"use it: --backbone timm:checkpoint={done.encoder}",
    )
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
