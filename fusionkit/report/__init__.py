"""What a run folder says: rows with intervals and tests, as a terminal table and as CSV files."""
