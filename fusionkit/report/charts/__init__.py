"""The figures of a report: what a run folder shows, as charts that are drawn once and need no script to be seen."""
