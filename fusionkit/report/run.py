"""Results of a run folder with the methods of reports: tables, comparisons, data frame, page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit.errors import FusionKitError
from fusionkit.grid.results import RunResults
from fusionkit.report.comparison import Comparison, compare
from fusionkit.report.csv_files import result_columns, result_lines
from fusionkit.report.page.write import notebook_html, write_report
from fusionkit.report.run_data import open_run_data
from fusionkit.report.table import results_table, warnings

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


class Results(RunResults):
    """Results of a run folder: the data of :class:`RunResults`, with tables, comparisons and reports.

    Args:
        folder: path of a run folder, or an opened folder.
        test: ``crossed`` (default): intervals and p over units (subjects or videos) and seeds. ``bootstrap``: the same
            from the percentile bootstrap, which most papers report; its coverage is below 95 % where units are few.
            ``permutation``: of these trained models, over units alone; p swaps the predictions of units.

    Raises:
        DataError: if the folder holds no grid.
    """

    @property
    def warnings(self) -> list[str]:
        """Limits of the numbers, one line each, as below the table and on the page."""
        return warnings(self)

    def table(self) -> Table:
        """Return the rows as a rich table, for a terminal or a notebook."""
        return results_table(self)

    def compare(self, a: str, b: str) -> Comparison:
        """Compare two rows or cells, overall and per class, on the seeds that both have.

        Args:
            a: short id, name ``views/fusion/smoother[/seed]``, or an unambiguous part of a name.
            b: likewise.

        Raises:
            ConfigError: if a name matches no row or several rows, or the rows were not tested on the same frames.
            DataError: if the rows have no finished seed in common.
        """
        return compare(self, a, b)

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a data frame with the columns of ``results.csv``.

        Raises:
            FusionKitError: if pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise FusionKitError("to_frame() requires pandas", hint="pip install pandas") from error
        return pd.DataFrame(result_lines(self), columns=list(result_columns(self)))

    def report(self, path: Path | str | None = None, *, pictures: bool = True) -> Path:
        """Write the report as one HTML page and return its path.

        Args:
            path: output file. Default: ``report.html`` in the run folder.
            pictures: include frames of the data sets that can be opened.

        Raises:
            StorageError: if the file cannot be written.
        """
        return write_report(self, open_run_data(self.grid), Path(path) if path else None, pictures=pictures)

    def _repr_html_(self) -> str:
        return notebook_html(self)
