"""A cell of a run folder made ready for use, and what has changed since it was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionkit.config.grid_config import IMPUTE
from fusionkit.config.views import View
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine import embed
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of
from fusionkit.grid.folder import RunFolder, StoredCell
from fusionkit.grid.lookup import RowMatch, find_row
from fusionkit.grid.status import cell_differences, component_differences, embedding_differences
from fusionkit.predict.predictor import Predictor, ViewSource
from fusionkit.predict.trained_head import TrainedHead, stored_model, stored_scaling
from fusionkit.registry import BACKBONES, EXTRACTORS, FUSIONS, SMOOTHERS, ComponentRegistry
from fusionkit.registry.spec import Spec
from fusionkit.storage.record import Record, component_record
from fusionkit.training.finetune_plan import MAKER


@dataclass(frozen=True, eq=False)
class _Stored:
    """A cell and its head, as they are stored."""

    cell: StoredCell
    state: dict[str, np.ndarray]
    head: dict[str, Any]

    @property
    def name(self) -> str:
        return f"seed {self.cell.info['seed']}, {self.cell.info['fold']}"


def open_cell(folder: RunFolder, text: str, device: str, impute: str | None = None) -> Predictor:
    """The predictor of a cell, or of all finished cells of a row: the mean of their probabilities.

    Args:
        folder: of the run; nothing else is needed, but the components themselves and the weights that they name.
        text: as :func:`fusionkit.grid.lookup.find_row` takes it.
        device: where to work.
        impute: what frames without any view are given; None: as the cell was scored.

    Raises:
        ConfigError: if the text stands for nothing or for several, or a weights file is missing.
        DataError: if no cell of it is finished, or a weights file is another one than it was.
        PluginError: if a component is not known any more, or does not take back what is stored of it.
    """
    if impute not in (None, *IMPUTE):
        raise ConfigError(f"impute: {impute!r} is none of {', '.join(IMPUTE)}")
    grid = folder.load_grid()
    if grid is None:
        raise DataError(f"{folder.path} holds no grid", hint="a folder that fusionkit bench has written to")
    match = find_row(grid, text)
    stored, notes = _read(folder, match)
    first = stored[0]
    _refuse_unknown(first)
    notes += _changes(stored, match, device)
    return Predictor(
        name=match.name,
        dataset=Spec.parse(match.axes.dataset),
        classes=tuple(first.head["class_names"]),
        views=_views(first.head),
        heads=tuple(_head(item, device) for item in stored),
        impute=impute or first.cell.info["impute"],
        device=device,
        notes=tuple(notes),
    )


def _read(folder: RunFolder, match: RowMatch) -> tuple[list[_Stored], list[str]]:
    wanted = [
        cell
        for cell in match.entry["cells"]
        if match.cell in (None, cell["id"]) and match.seed in (None, cell["seed"])
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
    stored = [_Stored(cell, *folder.read_head(cell.info["head"])) for cell in finished]
    old = next((item for item in stored if "backbones" not in item.head or "impute" not in item.cell.info), None)
    if old:
        where = folder.path / "heads" / old.cell.info["head"]
        raise DataError(
            f"{where} was stored by a version of fusionkit that did not note all that is needed to use it",
            hint="remove it and its cell, and run the grid again",
        )
    return stored, notes


def _head(item: _Stored, device: str) -> TrainedHead:
    info, state = item.head, item.state
    fusion = Spec.parse(info["fusion"])
    widths = {name: len(state[f"mean.{name}"]) for name in info["views"]}
    counts = np.array(info["train_counts"])
    return TrainedHead(
        seed=info["seed"],
        fold=item.cell.info["fold"],
        fusion=fusion,
        model=stored_model(fusion, state, widths, info["classes"], device),
        scaling=stored_scaling(state, info["views"], standardize=info["recipe"]["standardize"]),
        smoother=_smoother(item),
        prior=counts / counts.sum(),
        device=device,
    )


def _smoother(item: _Stored) -> Smoother:
    spec = Spec.parse(item.cell.info["smoother"])
    smoother: Smoother = SMOOTHERS.build(spec)
    if not smoother.fitted:
        return smoother
    if item.cell.smoother is None:
        raise PluginError(
            f"smoother {spec} has learned from dev frames and nothing is stored of it: it cannot be applied to others",
            hint="its class gives what it has learned in state()",
        )
    try:
        smoother.restore(item.cell.smoother)
    except Exception as error:
        raise PluginError(f"smoother {spec} does not take back what is stored of it: {cause_of(error)}") from error
    return smoother


def _views(head: dict[str, Any]) -> dict[str, ViewSource]:
    extractor = Spec.parse(head["extractor"]) if head["extractor"] else None
    found = {}
    for name, backbone in head["backbones"].items():
        record = head["record"]["views"][name]
        view = View.parse(record["view"])
        found[name] = ViewSource(view, extractor, Spec.parse(backbone) if backbone else None, record.get("tokens", 0))
    return found


# -- what has changed ------------------------------------------------------------------------------------------------


def _refuse_unknown(item: _Stored) -> None:
    """One line for all components that are not known here."""
    record = item.head["record"]
    if record["fusion"].get("distribution") == MAKER:
        raise ConfigError(
            f"the row is a network that {MAKER} has trained as a whole: it cannot be loaded as a cell",
            hint="bench its backbone, --backbone timm:checkpoint=.../best/backbone.safetensors, and take that row",
        )
    used: list[tuple[ComponentRegistry, Record | None]] = [(FUSIONS, record["fusion"])]
    for view in record["views"].values():
        used += [(EXTRACTORS, view["extractor"]), (BACKBONES, view["backbone"])]
    used.append((SMOOTHERS, item.cell.info["record"]["smoother"]))
    lacking = {
        f"{registry.kind} {part['name']!r} ({part.get('distribution') or 'of a file or a notebook'})": None
        for registry, part in used
        if part and part["name"] not in registry.names()
    }
    if lacking:
        raise PluginError(
            f"the cell was trained with {', '.join(lacking)}, which nothing registers here",
            hint="install its package, or name its file as plugin",
        )


def _changes(stored: Sequence[_Stored], match: RowMatch, device: str) -> list[str]:
    """A note of all that has changed; empty where nothing has."""
    texts = dict.fromkeys(text for item in stored for text in _differences(item, match, device))
    if not texts:
        return []
    return [f"since {match.name} was trained: {'; '.join(texts)}: predictions may differ from those of then"]


def _differences(item: _Stored, match: RowMatch, device: str) -> Iterator[str]:
    record = item.head["record"]
    for name, view in record["views"].items():
        now = _view_now(item.head, name, view, device)
        _refuse_other_files(view["extractor"], now["extractor"])
        _refuse_other_files(view["backbone"], now["backbone"])
        same = {"data": record["data"]}
        yield from (found.text for found in embedding_differences({**now, **same}, {**view, **same}))
    fusion = component_record(FUSIONS, Spec.parse(item.head["fusion"]))
    _refuse_other_files(record["fusion"], fusion)
    yield from (found.text for found in component_differences("fusion", fusion, record["fusion"]))
    was = item.cell.info["record"]
    smoother = component_record(SMOOTHERS, Spec.parse(match.axes.smoother))
    _refuse_other_files(was["smoother"], smoother)
    revisions = was["revisions"]
    how = {"smoother": smoother, "revisions": revisions}
    yield from (found.text for found in cell_differences(how, {"smoother": was["smoother"], "revisions": revisions}))


def _view_now(head: dict[str, Any], name: str, view: Record, device: str) -> Record:
    """The record of a view as it would be written today."""
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


def _refuse_other_files(stored: Record | None, now: Record | None) -> None:
    """A head on other weights than its own gives nonsense."""
    if not stored or not now or stored["name"] != now["name"]:
        return
    for name in stored["files"]:
        if stored["options"].get(name) != now["options"].get(name):
            raise DataError(f"{name} of {now['name']} is another file than the one that the cell was trained with")
