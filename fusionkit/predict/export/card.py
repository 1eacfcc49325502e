"""Model card of an exported cell, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.grid.axes import RANDOM_MARK
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.lookup import find_row
from fusionkit.grid.results import Row, RunResults
from fusionkit.predict.export.manifest import FRAMES, FRAMES_PROGRAM, MODEL, PROGRAM, Manifest, without_folders
from fusionkit.registry.spec import Spec
from fusionkit.report.numbers import p_in_words, percent, share, share_with_interval, signed_with_interval

_LIMITS = (
    "The scores hold for frames like those of the test set. Other cameras, crops, people or settings were not tested.",
    "Labels are annotators' judgements of visible expression. They are not the feelings of a person.",
    "Probabilities are calibrated only as far as the calibration error (ECE) above says.",
    "The EU forbids to infer emotions at work and in education (Regulation 2024/1689, Article 5(1)(f)).",
)


def model_card(run: RunFolder, text: str, manifest: Manifest) -> str:
    """Return the model card of a row, from the results of its run folder.

    Args:
        run: the run folder.
        text: row or cell.
        manifest: of the exported cell.
    """
    results = RunResults(run)
    match = find_row(results.grid, text)
    (row,) = (row for row in results.rows if row.id == match.entry["id"])
    lines = [f"# {manifest.name}", "", *_summary(manifest), ""]
    lines += ["## Data", "", *_data(row, results.grid), ""]
    lines += ["## Views and model", "", *_views(row, manifest), ""]
    lines += ["## Scores on the test set", "", *_scores(row), ""]
    lines += ["## Exported model", "", *_exported(manifest), ""]
    lines += ["## Limits", "", *(f"- {line}" for line in _LIMITS), ""]
    lines += ["## Licences", "", *_licences(row, manifest)]
    return "\n".join(lines) + "\n"


def _summary(manifest: Manifest) -> Iterator[str]:
    count = len(manifest.heads)
    mean = f" Probabilities are the mean of {count} heads." if count > 1 else ""
    yield (
        f"Facial expression recognition from {len(manifest.inputs)} view(s) of an aligned face into "
        f"{len(manifest.classes)} classes: {', '.join(map(_plain, manifest.classes))}.{mean} Exported by fusionkit "
        f"{manifest.made_by['fusionkit']}."
    )


def _data(row: Row, grid: dict[str, object]) -> Iterator[str]:
    axes = row.axes
    yield f"- Data set: `{Spec.parse(axes.dataset).name}`; split: `{axes.split}`."
    if row.score is not None:
        means, of_clips = row.means, axes.labels == "clip"
        frames = "" if of_clips else f"{means['n_frames']:,.0f} labelled frames of "
        yield (
            f"- Test set: {frames}{means['n_clips']:,.0f} {'labelled ' if of_clips else ''}clips and "
            f"{row.score.n_units:,} units (subjects where known, else videos); {percent(means['coverage'])} of the "
            f"{'clips' if of_clips else 'frames'} have every view."
        )
    notes = grid.get("notes")
    for note in notes if isinstance(notes, list) else []:
        yield f"- {_plain(str(note))}"


def _views(row: Row, manifest: Manifest) -> Iterator[str]:
    axes = row.axes
    yield f"- Views: {', '.join(f'`{item.view}`' for item in manifest.inputs)}; the first one is the main view."
    if axes.extractor != "none":
        yield f"- Regions from: `{Spec.parse(axes.extractor).name}`."
    for item in manifest.inputs:
        source = f"`{without_folders(Spec.parse(item.backbone))}`" if item.backbone else "the data set"
        yield f"- `{item.view}` is embedded by {source}."
    yield f"- Fusion: `{axes.fusion}`; smoother: `{row.chosen}`; training recipe: `{row.chosen_recipe}`."
    if row.random_backbones:
        yield f"- Its backbone has random weights{RANDOM_MARK}: a control, not a model to use."


def _scores(row: Row) -> Iterator[str]:
    if row.score is None:
        yield "No seed of the row is complete on every fold, so there is no score."
        return
    seeds = f"{len(row.seeds)} seed(s): {', '.join(map(str, row.seeds))}"
    yield f"95 % intervals over {row.score.n_units:,} units and {seeds}. Scores are means over single heads."
    yield ""
    yield "| score | value [95 % interval] |"
    yield "|---|---|"
    yield f"| {row.task.metric_name} | {share_with_interval(row.score)} |"
    for name, estimate in row.parts.items():
        yield f"| F1 of {_plain(name)} | {share_with_interval(estimate)} |"
    for name, label in (("accuracy", "accuracy"), ("uar", "unweighted average recall"), ("ece", "calibration error")):
        yield f"| {label}{' (ECE)' if name == 'ece' else ''} | {share(row.means[name])} |"
    if row.delta is not None:
        yield ""
        test = f", {p_in_words(row.delta.p)}" if row.delta.p == row.delta.p else ""  # NaN without a test
        metric = row.task.metric_name
        yield f"Difference in {metric} to the reference row of its run: {signed_with_interval(row.delta)}{test}."


def _exported(manifest: Manifest) -> Iterator[str]:
    check = manifest.check
    if manifest.whole_clips:
        if FRAMES in manifest.files:
            yield f"- `{FRAMES}` (ONNX) and `{FRAMES_PROGRAM}` (`torch.export`) embed the views of frames."
        yield (
            f"- `{MODEL}` and `{PROGRAM}` take mean and standard deviation of each view's embeddings over the frames "
            "of a clip that have the view, and give logits of the clip."
        )
        yield "- `manifest.json` names inputs, sizes, normalisation, boxes and outputs."
    else:
        yield f"- `{MODEL}` (ONNX) and `{PROGRAM}` (`torch.export`) take the views and give logits before smoothing."
        yield "- `manifest.json` names inputs, sizes, normalisation, boxes, smoother and outputs."
        is_causal = manifest.smoother["causal"]
        frames = "is causal: frames can be predicted as they come" if is_causal else "uses later frames"
        yield f"- The smoother is applied outside the model. It {frames}."
    inputs = "clips" if manifest.whole_clips else "inputs"
    yield (
        f"- Checked on {check['rows']} {inputs} ({check['frames']}, also with each view missing): the largest "
        f"difference in a probability to the trained cell in float32 is {check['probabilities_differ_by']:.1e}; "
        f"{check['same_label']} of {check['rows']} labels are the same."
    )
    if (machine := check.get("probabilities_differ_from_this_machine_by")) is not None:
        yield f"- The largest difference to the cell as it ran on the exporting machine is {machine:.1e}."
    for item in manifest.inputs:
        if item.kind == "embedding" and item.backbone:
            kept = without_folders(Spec.parse(item.backbone))
            yield f"- `{item.view}`: the backbone `{kept}` stays code; the model takes its embedding."


def _licences(row: Row, manifest: Manifest) -> Iterator[str]:
    yield (
        "fusionkit does not know the licences of data and weights. Before you pass this folder on, check those of the "
        "data set and of every pretrained weight in it; many face data sets allow research only, and some forbid the "
        "distribution of models trained on them."
    )
    yield ""
    yield f"- Data set: `{Spec.parse(row.axes.dataset).name}`."
    for backbone in dict.fromkeys(item.backbone for item in manifest.inputs if item.backbone):
        yield f"- Weights of `{without_folders(Spec.parse(backbone))}`."
    for name in manifest.files:
        if name.startswith("extractor/"):
            yield f"- `{name}`, a file of the extractor."


def _plain(text: str) -> str:
    """Escape the marks of Markdown in a text."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|" else sign for sign in text)
