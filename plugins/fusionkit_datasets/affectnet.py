"""AffectNet: faces from the web with eight expressions, in the four layouts that it is met in."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from fusionkit.errors import DataError
from fusionkit_datasets.affectnet_lists import check_both, csv_files, read_csv, read_text, text_lists
from fusionkit_datasets.affectnet_native import EXPRESSIONS, Native
from fusionkit_datasets.affectnet_npy import npy_folders, read_npy
from fusionkit_datasets.class_folders import class_folders
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.stills import ClassMapOption, Stills, root_folder

LAYOUT = (
    "Manually_Annotated_file_lists/{training,validation}.csv with Manually_Annotated_Images, "
    "{train_set,val_set}/{images,annotations}, or {train,val}/<class>/<images>"
)


class AffectNet(Stills):
    """AffectNet with eight or seven expressions and its split into train and val; val is tested.

    The layouts, looked for in this order:

    - ``csv``: ``Manually_Annotated_file_lists/{training,validation}.csv`` (or ``file_lists/``) with
      ``Manually_Annotated_Images``. The face is cut out by the box that the csv gives.
    - ``list``: ``train_set/train_annotations_8class.txt`` and ``valid_set/valid_annotations_8class.txt`` (or without
      ``_8class``), a name and a number a line, with ``images`` beside them.
    - ``npy``: the smaller edition, ``{train_set,val_set}/images/<id>.jpg`` with ``annotations/<id>_exp.npy``.
    - ``folders``: ``{train,val}/<0..7 or the expression>/<images>``.

    Images marked None, Uncertain or Non-face are passed over and counted in ``dropped``; so is contempt where
    ``classes`` is 7.

    Args:
        root: the folder; ``~`` is the home folder.
        classes: 8, or 7 to leave contempt out.
        layout: one of the four, if more than one is there.
        crop: cut the face out by its box (layout ``csv`` only).
        class_map: classes renamed, merged or left out: ``{Contempt:Anger}``; ``abaw`` for the names of the ABAW
            challenge, contempt becoming Other.

    Raises:
        ConfigError: if the class map is refused.
        DataError: if the layout or a line of a list is not as above.

    Reference:
        A. Mollahosseini, B. Hasani, M. H. Mahoor, AffectNet: A Database for Facial Expression, Valence, and Arousal
        Computing in the Wild, IEEE Transactions on Affective Computing 10(1), 2017; ``npy`` and numbered folders as in
        https://github.com/yaoing/DAN (affectnet.py), ``list`` as in https://github.com/zczcwh/POSTER; contempt to
        Other as in https://github.com/ora942878/ABAW_10_EXPR.
    """

    own: ClassVar[tuple[str, ...]] = EXPRESSIONS
    abaw: ClassVar[dict[str, str | None]] = {
        "Neutral": "Neutral",
        "Happy": "Happiness",
        "Sad": "Sadness",
        "Surprise": "Surprise",
        "Fear": "Fear",
        "Disgust": "Disgust",
        "Anger": "Anger",
        "Contempt": "Other",
    }

    def __init__(
        self,
        root: str,
        classes: Literal[7, 8] = 8,
        layout: Literal["auto", "csv", "list", "npy", "folders"] = "auto",
        crop: bool = True,
        class_map: ClassMapOption = None,
    ) -> None:
        native = Native(classes)
        abaw = {name: self.abaw[name] for name in native.names}
        mapped = ClassMap.of(native.names, class_map, abaw)
        try:
            listing = _read(root_folder("affectnet", root, LAYOUT), layout, native, crop)
        except OSError as error:
            raise DataError(f"affectnet: cannot read {error.filename}: {error.strerror}") from error
        super().__init__(listing, mapped)


def _read(top: Path, layout: str, native: Native, crop: bool) -> Listing:
    tables, lists, npys = csv_files(top), text_lists(top), npy_folders(top)
    there = [name for name, found in (("csv", tables), ("list", lists), ("npy", npys)) if found]
    chosen = (there or ["folders"])[0] if layout == "auto" else layout
    if chosen != "folders" and chosen not in there:
        raise DataError(f"affectnet: {top} does not have the layout {chosen}", hint=LAYOUT)
    if chosen == "csv":
        check_both(tables, top)
        return read_csv(top, tables, native, crop)
    if chosen == "list":
        check_both(lists, top)
        return read_text(top, lists, native)
    if chosen == "npy":
        check_both(npys, top)
        return read_npy(top, npys, native)
    names = {str(number): name for number, name in enumerate(native.names)}
    reasons = {str(number): reason for number, reason in native.reasons.items()}
    # A folder that bears the name of a class that is left out is passed over like its number.
    reasons |= {name.casefold(): name for name in native.reasons.values()}
    return class_folders("affectnet", top, native.names, names, reasons)
