"""Figures of a report, drawn once as SVG: they need no script to be seen."""
