"""``fusionkit data``: look at data before they are used, and write drawn ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import FAILED, err, is_interactive, out, reporting
from fusionkit.cli.options import Dataset, Debug, Extractor, Plugins
from fusionkit.cli.usage import Commands

if TYPE_CHECKING:
    from fusionkit.grid.progress import Progress

Form = Literal["same", "jpg", "png"]

app = typer.Typer(cls=Commands, no_args_is_help=True)


@app.command("check")
def check(
    dataset: Dataset,
    read: Annotated[bool, typer.Option("--read", help="Decode every image.")] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Count what a data set holds, a column a split, and list every problem with its file and line.

    The exit code is 1 where there are problems.

    Examples:

      fusionkit data check affwild2:root=Aff-Wild2

      fusionkit data check folder:root=faces --read
    """
    with reporting(debug):
        from fusionkit.data.check import check_data, data_table
        from fusionkit.registry import DATASETS
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.registry.spec import Spec

        for path in plugin or ():
            load_plugin_file(path)
        built = DATASETS.build(Spec.parse(dataset))
        found = check_data(built, read=read, progress=_progress())
    if found.splits:
        out.print(data_table(found))
    for problem in found.problems:
        err.print(f"[bold red]problem:[/] {escape(problem)}", soft_wrap=True, highlight=False)
    if found.problems:
        err.print(f"{len(found.problems):,} problem(s)", highlight=False)
        raise typer.Exit(FAILED)


@app.command("synth")
def synth(
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write; new or empty.")],
    layout: Annotated[str, typer.Option(metavar="NAME", help="Whose layout.")] = "affwild2",
    clips: Annotated[int, typer.Option(metavar="N", help="Clips, 32 or more; half are for training.")] = 80,
    frames: Annotated[int, typer.Option(metavar="N", min=6, help="Mean length of a clip.")] = 30,
    difficulty: Annotated[
        float, typer.Option(metavar="X", min=0, max=1, help="How weak and disturbed expressions are; 0 is easiest.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws everything.")] = 0,
    faults: Annotated[bool, typer.Option(help="With what is uneven in the real data.")] = True,
    debug: Debug = False,
) -> None:
    """Write drawn faces in the layout of a known data set, to try a pipeline before one has the data.

    Examples:

      fusionkit data synth --layout affwild2 --out drawn
    """
    with reporting(debug):
        from fusionkit.data.layouts import SyntheticClips, check_free, find_layout, write_layout

        writer = find_layout(layout)
        check_free(out_folder)
        faces = SyntheticClips(clips, frames, seed, faults, difficulty).build()
        progress = _progress()
        with progress.stage("draw", len(faces.frames), "frames"):
            write_layout(writer, faces, out_folder, faults, progress.advance)
        out.print(f"wrote {clips} clips, {len(faces.frames)} frames, to {out_folder}", highlight=False, markup=False)


@app.command("views")
def views(
    dataset: Dataset,
    view: Annotated[
        str,
        typer.Option(
            metavar="VIEW", help="face, eye, eye+mouth, keep:eye, drop:mouth, ...", autocompletion=completion.views
        ),
    ],
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write; new or empty.")],
    extractor: Extractor = "template",
    split: Annotated[
        str, typer.Option(metavar="NAMES", help="Official splits to write, train among them; all without it.")
    ] = "",
    size: Annotated[
        int | None, typer.Option(metavar="PX", min=1, help="Side in px of each view; as it is cut without it.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Of the files; same: that of each source file.")] = "same",
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Write one view of every frame to files, with its annotation, as a data set of its own.

    A run that was interrupted goes on when it is given again.

    Examples:

      fusionkit data views affwild2:root=Aff-Wild2 --view eye+mouth --out Aff-Wild2-eye-mouth

      fusionkit data views folder:root=faces --view mouth --size 224 --out mouths
    """
    with reporting(debug):
        from fusionkit.config.views import View
        from fusionkit.data.views import ViewRequest, write_views
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.registry.spec import Spec

        for path in plugin or ():
            load_plugin_file(path)
        splits = tuple(part.strip() for part in split.split(",")) if split else ()
        request = ViewRequest(Spec.parse(dataset), View.parse(view), Spec.parse(extractor), splits, size, form)
        written = write_views(request, out_folder, _progress())
    out.print(written.table())
    if not written.own_layout:
        out.print("written as one folder a class: the data set has no layout of its own to be written in")
    out.print(f"read it as  {shlex.quote(str(written.reader))}", highlight=False, markup=False, soft_wrap=True)


@app.command("composites")
def composites(
    dataset: Dataset,
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The PNG to write.")] = Path("composites.png"),
    count: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="How many to show.")] = 12,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Write a picture of made-up frames, each below the frames that it was made of.

    Examples:

      fusionkit data composites swapped:source=synthetic,classes=Fear --out swaps.png
    """
    with reporting(debug):
        from fusionkit.data.composite_sheet import write_composite_sheet
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.registry.spec import Spec

        for path in plugin or ():
            load_plugin_file(path)
        shown = write_composite_sheet(Spec.parse(dataset), count, out_file)
        out.print(f"wrote {out_file}, which shows {shown} composites", highlight=False, markup=False)


def _progress() -> Progress:
    from fusionkit.cli.progress import BarProgress, LineProgress

    return BarProgress(err) if is_interactive() else LineProgress(err)
