"""Rows as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionkit.errors import FusionKitError
from fusionkit.grid.results import RunResults
from fusionkit.report.csv_files import RESULT_COLUMNS, result_record

if TYPE_CHECKING:
    import pandas as pd


def to_frame(results: RunResults) -> pd.DataFrame:
    """The rows with the columns of ``results.csv``.

    Raises:
        FusionKitError: if pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise FusionKitError("to_frame() needs pandas", hint="pip install pandas") from error
    return pd.DataFrame([result_record(row) for row in results.rows], columns=list(RESULT_COLUMNS))
