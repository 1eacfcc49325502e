"""Open a trained cell of a run folder, and report what has changed since it was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionkit.config.grid_config import IMPUTE
from fusionkit.config.views import View
from fusionkit.contracts.task import Task
from fusionkit.engine import embed
from fusionkit.engine.features import Scaling
from fusionkit.engine.joint_task import Member, columns_of
from fusionkit.engine.restore import restored_fusion, restored_smoother
from fusionkit.errors import ConfigError, DataError, PluginError
from fusionkit.grid.folder import RunFolder, StoredCell
from fusionkit.grid.lookup import RowMatch, find_row
from fusionkit.grid.status import cell_differences, component_differences, embedding_differences
from fusionkit.predict.predictor import Predictor, ViewSource
from fusionkit.predict.trained_head import FusionClipHead, FusionHead
from fusionkit.registry import BACKBONES, EXTRACTORS, FUSIONS, SMOOTHERS, TASKS, ComponentRegistry, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.record import Record, component_record
from fusionkit.training.finetune_plan import MAKER


@dataclass(frozen=True, eq=False)
class _CellFiles:
    """What is stored of a cell and its head."""

    cell: StoredCell
    state: dict[str, np.ndarray]
    head: dict[str, Any]

    @property
    def members(self) -> list[Member]:
        """Tasks that the head has learned."""
        return [Member.of(each) for each in self.head["tasks"]]

    @property
    def task(self) -> Task:
        """The task of the cell."""
        member: Member = self.members[self.cell.info["member"]]
        return member.task

    @property
    def columns(self) -> slice:
        """Columns of the task in the outputs of the head."""
        return columns_of(self.members, self.cell.info["member"])


def open_cell(folder: RunFolder, text: str, device: str, impute: str | None = None) -> Predictor:
    """Return the predictor of a cell, or of all finished cells of a row.

    Args:
        folder: the run folder; only the components and their weights files are needed besides.
        text: row or cell, as :func:`fusionkit.grid.lookup.find_row` takes it.
        device: torch device.
        impute: imputation of frames without any view; None: as in the run.

    Raises:
        ConfigError: if the text matches no row or several, or a weights file is missing.
        DataError: if no cell of the row is finished, or a weights file has changed.
        PluginError: if a component is not registered, or does not accept its stored state.
    """
    if impute not in (None, *IMPUTE):
        near = did_you_mean(impute, IMPUTE)
        raise ConfigError(f"option impute = {impute!r} must be one of: {', '.join(IMPUTE)}{near}")
    grid = folder.grid()
    match = find_row(grid, text)
    stored, notes = _read(folder, match)
    first = stored[0]
    _check_registered(first)
    notes += _change_notes(stored, match, device)
    return Predictor(
        name=match.name,
        dataset=Spec.parse(match.axes.dataset),
        task=first.task,
        views=_views(first.head),
        heads=tuple(_head(item, device) for item in stored),
        impute=impute or first.cell.info["impute"],
        device=device,
        notes=tuple(notes),
    )


def _read(folder: RunFolder, match: RowMatch) -> tuple[list[_CellFiles], list[str]]:
    """Read the finished cells; note how many are not finished."""
    wanted = [
        cell for cell in match.entry["cells"] if match.cell in (None, cell["id"]) and match.seed in (None, cell["seed"])
    ]
    cells = [(cell, folder.read_cell(cell["id"])) for cell in wanted]
    finished = [cell for _, cell in cells if cell is not None]
    if not finished:
        raise DataError(f"{match.name} is not finished in {folder.path}", hint="run its grid again")
    notes = []
    if len(finished) < len(wanted):
        notes.append(
            f"{match.name}: {len(wanted) - len(finished)} of {len(wanted)} cells are not finished and are left out"
        )
    return [_CellFiles(cell, *folder.read_head(cell.info["head"])) for cell in finished], notes


def _head(item: _CellFiles, device: str) -> FusionHead:
    info, state = item.head, item.state
    fusion = Spec.parse(info["fusion"])
    widths = {name: len(state[f"mean.{name}"]) for name in info["views"]}
    smoother = Spec.parse(item.cell.info["smoother"])
    kind = FusionClipHead if info.get("labels") == "clip" else FusionHead
    return kind(
        seed=info["seed"],
        fold=item.cell.info["fold"],
        fusion=fusion,
        model=restored_fusion(fusion, state, widths, info["outputs"], device),
        scaling={
            name: Scaling(state[f"mean.{name}"], state[f"scale.{name}"], info["recipe"]["standardize"])
            for name in info["views"]
        },
        smoother_spec=smoother,
        smoother=restored_smoother(item.task, smoother, item.cell.smoother),
        prior=np.array(info["prior"])[item.columns],
        device=device,
        columns=item.columns,
    )


def _views(head: dict[str, Any]) -> dict[str, ViewSource]:
    extractor = Spec.parse(head["extractor"]) if head["extractor"] else None
    found = {}
    for name, backbone in head["backbones"].items():
        record = head["record"]["views"][name]
        view = View.parse(record["view"])
        found[name] = ViewSource(view, extractor, Spec.parse(backbone) if backbone else None, record.get("tokens", 0))
    return found


def _check_registered(item: _CellFiles) -> None:
    """Raise one error for all components that are not registered."""
    record = item.head["record"]
    if record["fusion"].get("distribution") == MAKER:
        raise ConfigError(
            f"the row is a network trained as a whole by {MAKER}: it cannot be loaded as a cell",
            hint="bench its backbone, --backbone timm:checkpoint=.../best/backbone.safetensors, and load that row",
        )
    used: list[tuple[ComponentRegistry, Record | None]] = [(FUSIONS, record["fusion"])]
    used += [(TASKS, each) for each in record["tasks"]]
    for view in record["views"].values():
        used += [(EXTRACTORS, view["extractor"]), (BACKBONES, view["backbone"])]
    used.append((SMOOTHERS, item.cell.info["record"]["smoother"]))
    missing = {
        f"{registry.kind} {part['name']!r} ({part.get('distribution') or 'from a file or notebook'})": None
        for registry, part in used
        if part and part["name"] not in registry.names()
    }
    if missing:
        raise PluginError(
            f"the cell was trained with {', '.join(missing)}, not registered here",
            hint="install its package, or give its file as plugin",
        )


def _change_notes(stored: Sequence[_CellFiles], match: RowMatch, device: str) -> list[str]:
    """Return one note with everything that has changed since training, or none."""
    texts = dict.fromkeys(text for item in stored for text in _differences(item, match, device))
    if not texts:
        return []
    return [f"changed since {match.name} was trained: {'; '.join(texts)}; predictions may differ"]


def _differences(item: _CellFiles, match: RowMatch, device: str) -> Iterator[str]:
    record = item.head["record"]
    for name, view in record["views"].items():
        now = _view_now(item.head, name, view, device)
        _check_files(view["extractor"], now["extractor"])
        _check_files(view["backbone"], now["backbone"])
        same = {"data": record["data"]}
        yield from (found.text for found in embedding_differences({**now, **same}, {**view, **same}))
    fusion = component_record(FUSIONS, Spec.parse(item.head["fusion"]))
    _check_files(record["fusion"], fusion)
    yield from (found.text for found in component_differences("fusion", fusion, record["fusion"]))
    was = item.cell.info["record"]
    smoother = component_record(SMOOTHERS, Spec.parse(match.axes.smoother))
    _check_files(was["smoother"], smoother)
    revisions = was["revisions"]
    how = {"smoother": smoother, "revisions": revisions}
    yield from (found.text for found in cell_differences(how, {"smoother": was["smoother"], "revisions": revisions}))


def _view_now(head: dict[str, Any], name: str, view: Record, device: str) -> Record:
    """Return the record of a view with the installed components."""
    spec = head["backbones"][name]
    if not spec:
        return view
    backbone = Spec.parse(spec)
    return {
        **view,
        "revision": embed.REVISION,
        "extractor": view["extractor"] and component_record(EXTRACTORS, Spec.parse(head["extractor"])),
        "backbone": component_record(BACKBONES, backbone),
        "precision": embed.shared_backbone(backbone).precision(device),
        "device": device.partition(":")[0],
    }


def _check_files(stored: Record | None, now: Record | None) -> None:
    """Raise :class:`DataError` if weights differ from those of training: the predictions would be meaningless."""
    if not stored or not now or stored["name"] != now["name"]:
        return
    for name in stored["files"]:
        if stored["options"].get(name) != now["options"].get(name):
            raise DataError(f"file {name} of {now['name']} differs from the one that the cell was trained with")
