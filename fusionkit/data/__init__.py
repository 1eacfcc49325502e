"""Tools for data sets: checks, written views, drawn layouts, contact sheets, arrays as data sets."""
