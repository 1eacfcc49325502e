"""Components in a lone Python file or a project's module: imported so that their decorators register them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

from fusionkit.errors import ConfigError, PluginError, cause_of
from fusionkit.registry import LONE_FILE

_LOADED: dict[str, str] = {}  # module to the hash of the bytes it was made of


def load_plugin_file(path: str) -> None:
    """Import a file, again if it has changed; its ``register_module`` decorators make its components known.

    Raises:
        ConfigError: if there is no such file.
        PluginError: if it fails while it is imported.
    """
    try:
        file = Path(path).expanduser().resolve(strict=True)
        content = hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"plugin {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if file.suffix != ".py":
        raise ConfigError(f"plugin {path!r} is not a Python file", hint="its name ends in .py")
    name = f"{LONE_FILE}{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules and _LOADED.get(name) == content:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"plugin {path!r} cannot be imported: {cause_of(error)}") from error
    _LOADED[name] = content


def load_module(name: str) -> None:
    """Import a module that a config names in ``custom_imports``.

    Raises:
        PluginError: if it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"custom_imports: {name!r} cannot be imported: {cause_of(error)}",
            hint="is it installed, or its folder in PYTHONPATH?",
        ) from error
