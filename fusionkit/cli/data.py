"""``fusionkit data``: check data sets, and write views, composites and synthetic clips."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import FAILED, RESUMABLE, print_labelled, print_line, print_note, print_table, reporting
from fusionkit.cli.usage import Commands

_NewFolder = Annotated[Path, options.out_option("DIR", "Folder for the files, new or empty.")]

app = typer.Typer(cls=Commands, no_args_is_help=True)


@app.command("check")
def check(
    dataset: options.Dataset,
    read: Annotated[bool, typer.Option("--read", help="Decode every image.")] = False,
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Count the contents of a data set per split, and list every problem with file and line.

    The exit code is 1 if there are problems.

    Examples:

      fusionkit data check affwild2:root=Aff-Wild2

      fusionkit data check folder:root=faces --read
    """
    with reporting(debug):
        from fusionkit.cli.progress import stage_progress

        found = api.check_data(dataset, read=read, plugins=plugin or (), progress=stage_progress())
        if found.splits:
            print_table(found.table())
        print_labelled("problem", found.problems)
        if found.problems:
            print_note(f"{len(found.problems):,} problem(s)")
            raise typer.Exit(FAILED)


@app.command("synth")
def synth(
    folder: _NewFolder,
    layout: Annotated[str, typer.Option(metavar="NAME", help="Directory layout of a known data set.")] = "affwild2",
    clips: Annotated[
        int, typer.Option(metavar="N", help="Number of clips, at least 32; half of them are for training.")
    ] = 80,
    frames: Annotated[int, typer.Option(metavar="N", min=6, help="Mean number of frames per clip.")] = 30,
    difficulty: Annotated[
        float,
        typer.Option(metavar="X", min=0, max=1, help="Difficulty, from 0 (clear expressions) to 1."),
    ] = 0.5,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")] = 0,
    faults: Annotated[
        bool, typer.Option("--faults/--no-faults", help="Include the irregularities of the real data.")
    ] = True,
    debug: options.Debug = False,
) -> None:
    """Write synthetic faces in the directory layout of a known data set, to test a pipeline without the data.

    The folder can be read by the data set of that layout.

    Examples:

      fusionkit data synth --layout affwild2 --out drawn
    """
    with reporting(debug):
        from fusionkit.cli.progress import stage_progress

        count = api.synthesize(
            folder,
            layout=layout,
            clips=clips,
            frames=frames,
            difficulty=difficulty,
            seed=seed,
            faults=faults,
            progress=stage_progress(),
        )
        print_line(f"wrote {clips} clips, {count} frames, to {folder}")


@app.command("views")
def views(
    dataset: options.Dataset,
    view: Annotated[str, options.view_option("View to write: face, eye, eye+mouth, keep:eye, drop:mouth, ...")],
    folder: _NewFolder,
    extractor: options.Extractor = "template",
    split: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Splits to write, as train,val; train is needed. Default: all frames.",
        ),
    ] = "",
    size: Annotated[
        int | None, typer.Option(metavar="PX", min=1, help="Side of each image in pixels. Default: as cut.")
    ] = None,
    form: Annotated[
        Literal["same", "jpg", "png"], typer.Option("--format", help="File format; same: that of each source file.")
    ] = "same",
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Write one view of every frame to image files, with the annotation, as a data set of its own.

    An interrupted command resumes when it is repeated.

    Examples:

      fusionkit data views affwild2:root=Aff-Wild2 --view eye+mouth --out Aff-Wild2-eye-mouth

      fusionkit data views folder:root=faces --view mouth --size 224 --out mouths
    """
    with reporting(debug, interrupted=RESUMABLE):
        from fusionkit.cli.progress import stage_progress

        written = api.write_views(
            dataset,
            view,
            folder,
            extractor=extractor,
            splits=[part.strip() for part in split.split(",")] if split else (),
            size=size,
            form=form,
            plugins=plugin or (),
            progress=stage_progress(),
        )
        print_table(written.table())
        if not written.own_layout:
            print_line("written as one folder per class, because the data set has no directory layout to write")
        print_line(f"read it as  {shlex.quote(str(written.reader))}")


@app.command("composites")
def composites(
    dataset: options.Dataset,
    path: Annotated[Path, options.out_option("FILE", "PNG file.")] = Path("composites.png"),
    count: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Number of composites.")] = 12,
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Write a picture of composite frames, each below its source frames.

    The data set must compose frames, as swapped does.

    Examples:

      fusionkit data composites swapped:source=synthetic,classes=Fear --out swaps.png
    """
    with reporting(debug):
        shown = api.write_composites(dataset, path, count=count, plugins=plugin or ())
        print_line(f"wrote {path}, which shows {shown} composites")
