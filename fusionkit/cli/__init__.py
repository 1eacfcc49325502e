"""The command line: one module per command; each parses, calls and prints, and has no logic of its own."""

from __future__ import annotations

import typer

from fusionkit.cli import (
    ablate,
    bench,
    cache,
    check,
    compare,
    data,
    doctor,
    finetune,
    info,
    listing,
    merge,
    new,
    pretrain,
    preview,
    report,
    robust,
    submit,
)
from fusionkit.cli.usage import Commands

app = typer.Typer(
    name="fusionkit",
    cls=Commands,
    help="Compare region views, backbones, fusions and temporal smoothers for facial expression recognition.",
    epilog="Start with:  fusionkit bench --regions eye,mouth --fusion concat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ablate")(ablate.ablate)
app.command("bench")(bench.bench)
app.command("cache")(cache.cache)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("doctor")(doctor.doctor)
app.command("finetune")(finetune.finetune)
app.command("merge")(merge.merge)
app.command("new")(new.new)
app.command("list")(listing.list_components)
app.command("info")(info.info)
app.command("preview")(preview.preview)
app.command("pretrain")(pretrain.pretrain)
app.command("report")(report.report)
app.command("robust")(robust.robust)
app.command("submit")(submit.submit)
app.add_typer(data.app, name="data", help="Look at data before they are used, and write drawn ones.")


def main() -> None:
    """The ``fusionkit`` command."""
    app()
