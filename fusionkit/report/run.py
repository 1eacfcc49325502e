"""Results of a run folder with the methods of reports: tables, comparisons, data frame, page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit.errors import ConfigError, extra
from fusionkit.grid.results import RunResults
from fusionkit.registry.options import requirement
from fusionkit.report.comparison import Comparison, compare
from fusionkit.report.frames import FrameName, frame_lines
from fusionkit.report.page.write import notebook_html, write_report
from fusionkit.report.run_data import open_run_data
from fusionkit.report.table import as_text, caption, results_table, warnings

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


_SHOWN = 50  # rows of the text of a run


class Results(RunResults):
    """Results of a run folder: the data of :class:`RunResults`, with tables, comparisons and reports.

    Args:
        folder: path of a run folder, or an opened folder.
        test: ``crossed`` (default): intervals and p over units (subjects or videos) and seeds. ``bootstrap``: the same
            from the percentile bootstrap, which most papers report; its coverage is below 95 % where units are few.
            ``permutation``: of these trained models, over units alone; p swaps the predictions of units.

    Raises:
        ConfigError: if there is no such test.
        DataError: if the folder holds no grid.

    Example:
        >>> results = fusionkit.Results("runs/first")
        >>> results.to_frame()[["views", "fusion", "n_units"]]
                    views  fusion  n_units
        0            face  linear        6
        1  face,eye,mouth     mlp        6
        >>> results.to_frame("confusion")["truth"].unique().tolist()[:2]
        ['Neutral', 'Anger']
        >>> results.compare("mlp", "linear").names
        ('face,eye,mouth/mlp/none', 'face/linear/none')
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

    def to_frame(self, table: FrameName = "rows") -> pd.DataFrame:
        """Return the numbers of the report as a data frame. Unknown values are missing.

        Args:
            table: ``rows`` (default): scores and differences of each row with 95 % intervals and p, as in
                ``results.csv``. ``cells``: one line per seed and fold, as in ``cells.csv``. ``costs``: seconds and
                memory of each cell, as in ``costs.csv``. ``classes``: F1 of each class in each row with its interval,
                and the share of test frames that is predicted as this class. ``confusion``: for each row, true class
                and predicted class, the number of frames (mean over seeds) and its share of the true class.

        Raises:
            ConfigError: if there is no such table, or pandas is not installed.
        """
        if required := requirement(table, FrameName):
            raise ConfigError(f"table = {table!r} must be {required}")
        with extra("pandas", "to_frame()"):
            import pandas as pd
        columns, lines = frame_lines(self, table)
        return pd.DataFrame(lines, columns=list(columns))

    def report(self, path: Path | str | None = None, *, pictures: bool = True) -> Path:
        """Write the report as one HTML page and return its path.

        Args:
            path: output file. Default: ``report.html`` in the run folder.
            pictures: include frames of the data sets that can be opened.

        Raises:
            StorageError: if the file cannot be written.
        """
        return write_report(self, open_run_data(self.grid), Path(path) if path else None, pictures=pictures)

    def __repr__(self) -> str:
        """Return the table, its caption and the warnings as text; of more than 50 rows the best 50."""
        more = [f"the best {_SHOWN} of {len(self.rows)} rows; table() has all"] if len(self.rows) > _SHOWN else []
        return as_text([results_table(self, _SHOWN)], [*more, *caption(self)], self.warnings)

    def _repr_html_(self) -> str:
        return notebook_html(self)
