"""Tools for data sets: check, written views, synthetic clips, contact sheets, arrays as data sets."""
