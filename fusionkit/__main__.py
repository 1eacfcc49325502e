"""``python -m fusionkit``: the command line, where the ``fusionkit`` command is not on the path."""

from __future__ import annotations

from fusionkit.cli import main

if __name__ == "__main__":
    main()
