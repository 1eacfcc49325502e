"""The cache folder: embeddings, hashes of images and outcomes of checks, shared by runs."""

from __future__ import annotations

import os
from pathlib import Path

from fusionkit.errors import expanded


def cache_folder() -> Path:
    """Return the cache folder: ``FUSIONKIT_CACHE``, else the one of the platform."""
    chosen = os.environ.get("FUSIONKIT_CACHE")
    if chosen:
        return expanded(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("fusionkit")
