"""``fusionkit pretrain``: stage 1, pre-train a masked autoencoder on unlabelled faces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import RESUMABLE, print_labelled, print_line, reporting
from fusionkit.errors import first_of

if TYPE_CHECKING:
    from fusionkit.api import Pretrained


def pretrain(
    config: Annotated[
        str, options.config_argument("pretrain", "Config file, or name of a shipped config, as pretrain/tiny.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Images: a data set with its options, a folder, a .txt list of images, or a video. Repeatable. "
            "Default: as in the config.",
        ),
    ] = None,
    out: Annotated[
        Path | None, options.out_option("DIR", "Run folder. Default: runs/pretrain-<config>-<hash>.")
    ] = None,
    set_: options.Settings = None,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Pre-train a vision transformer as a masked autoencoder on unlabelled faces.

    The same command again resumes from the last checkpoint. The encoder can be used as a backbone: --backbone
    timm:checkpoint=FILE.

    Examples:

      fusionkit pretrain pretrain/tiny

      fusionkit pretrain pretrain/mae_face_vitb --data faces --data more-faces.txt

      torchrun --nproc-per-node 8 -m fusionkit pretrain pretrain/mae_face_vitb --data faces
    """
    with reporting(debug, interrupted=RESUMABLE):
        from fusionkit.cli.training_progress import training_progress

        started = time.monotonic()
        done = api.pretrain(
            config,
            overrides={"data": data} if data else None,
            settings=set_ or (),
            out=out,
            device=device,
            plugins=plugin or (),
            progress=training_progress(),
        )
        if api.is_main_process():
            _print(done, time.monotonic() - started)


def _print(done: Pretrained, seconds: float) -> None:
    print_labelled("warning", done.notes)
    if done.unreadable:
        print_labelled("without an image", [f"{len(done.unreadable)}: {first_of(done.unreadable)}"])
    trained = done.steps - done.resumed
    text = f"{trained} steps on {done.images} images in {seconds:.1f} s" if trained else "nothing left to train"
    before = f", after {done.resumed} done before" if trained and done.resumed else ""
    loss = f"loss {done.losses[0]:.4f} -> {done.losses[-1]:.4f}"
    print_line(f"{text}{before}; {loss}; curve and pictures in {done.encoder.parent}")
    print_line(f"use it: --backbone timm:checkpoint={done.encoder}")
