"""Components in a lone Python file or a project's module: imported so that their decorators register them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

from fusionkit.errors import ConfigError, PluginError


def load_plugin_file(path: str) -> None:
    """Import a file once; its ``register_module`` decorators make its components known.

    Raises:
        ConfigError: if there is no such file.
        PluginError: if it fails while it is imported.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        raise ConfigError(f"plugin {path!r} is not a Python file")
    name = f"fusionkit_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"plugin {path!r} cannot be imported: {type(error).__name__}: {error}") from error


def load_module(name: str) -> None:
    """Import a module that a config names in ``custom_imports``.

    Raises:
        PluginError: if it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except Exception as error:
        raise PluginError(
            f"custom_imports: {name!r} cannot be imported: {type(error).__name__}: {error}",
            hint="is it installed, or its folder in PYTHONPATH?",
        ) from error
