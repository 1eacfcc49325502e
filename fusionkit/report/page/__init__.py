"""``report.html``: one file that needs nothing else: the answer, the table, the figures, the provenance."""
