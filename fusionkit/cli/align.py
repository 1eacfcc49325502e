"""``fusionkit align``: photos and videos to aligned faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import FAILED, err, is_interactive, out, reporting
from fusionkit.cli.options import Debug, Plugins
from fusionkit.cli.progress import FrameBars, FrameLines

if TYPE_CHECKING:
    from fusionkit.media.align import AlignOutcome


def align(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Photos, videos, and folders of them.", show_default=False)
    ],
    detector: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Extractor that finds faces, as yunet:model=FILE.",
            autocompletion=completion.components("extractors"),
        ),
    ],
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the crops.")] = Path("aligned"),
    people: Annotated[
        Literal["all", "largest", "central", "left", "right"], typer.Option(help="Which faces of a frame.")
    ] = "all",
    side: Annotated[int, typer.Option(metavar="PX", min=16, max=1024, help="Side of a crop in px.")] = 112,
    min_frames: Annotated[
        int, typer.Option(metavar="N", min=1, help="Faces of a video seen in fewer frames are left out.")
    ] = 5,
    patience: Annotated[
        int, typer.Option(metavar="N", min=1, help="Frames a face may be away and still be the same.")
    ] = 30,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Find the faces of photos and videos, and write them aligned in the layout of Aff-Wild2.

    Ctrl-C loses nothing: the same command goes on where it was, in the middle of a video too. Exit code 1 says that
    some input had a fault. Sub-folders of the inputs are kept: class folders stay class folders.

    Examples:

      fusionkit align clip.mp4 --detector yunet:model=face_detection_yunet_2023mar.onnx --out aligned

      fusionkit align photos videos --detector insightface:pack=buffalo_l --people largest
    """
    with reporting(debug):
        from fusionkit.media.align import align as align_inputs
        from fusionkit.media.align import check_output
        from fusionkit.media.coverage import write_coverage
        from fusionkit.media.face_tracking import DetectionOptions
        from fusionkit.media.inputs import find_inputs
        from fusionkit.registry import EXTRACTORS
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.registry.spec import Spec
        from fusionkit.storage.identity import component_identity

        for path in plugin or ():
            load_plugin_file(path)
        spec = Spec.parse(detector)
        built = EXTRACTORS.build(spec)
        found, unlisted = find_inputs(inputs)
        check_output(out_dir)
        chosen = None if people == "all" else people
        options = DetectionOptions(built, chosen, side, min_frames, patience)
        identity = component_identity(EXTRACTORS, spec)
        outcomes = []
        watch = FrameBars(err, len(found)) if is_interactive() else FrameLines(err)
        try:
            with watch:
                for outcome in align_inputs(found, options, identity, out_dir, watch.see):
                    outcomes.append(outcome)
                    watch.done()
                    _tell(outcome)
        finally:
            write_coverage(outcomes, out_dir)
        for line in unlisted:
            err.print(f"[bold red]fault:[/] {escape(line)}", soft_wrap=True, highlight=False)
        _summarise(outcomes, out_dir)
        if unlisted or any(outcome.faults for outcome in outcomes):
            raise typer.Exit(FAILED)


def _tell(outcome: AlignOutcome) -> None:
    """A line an input, and one a fault."""
    result = outcome.result
    for fault in outcome.faults:
        err.print(f"[bold red]fault:[/] {escape(fault)}", soft_wrap=True, highlight=False)
    if result is None:
        return
    clips = ", ".join(f"{clip.clip} {clip.frames / result.frames:.1%}" for clip in result.clips) or "no face"
    kept = " (done before)" if outcome.reused else ""
    out.print(escape(f"{outcome.path}: {result.frames:,} frame(s): {clips}{kept}"), soft_wrap=True, highlight=False)


def _summarise(outcomes: list[AlignOutcome], folder: Path) -> None:
    read = [outcome.result for outcome in outcomes if outcome.result]
    crops = sum(clip.frames for record in read for clip in record.clips)
    faulty = sum(bool(outcome.faults) for outcome in outcomes)
    out.print(
        escape(
            f"{len(outcomes):,} input(s), {sum(record.frames for record in read):,} frames, {crops:,} crops in "
            f"{folder}; {faulty} input(s) with a fault; coverage.csv and coverage.png tell where"
        ),
        soft_wrap=True,
        highlight=False,
    )
