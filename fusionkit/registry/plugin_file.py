"""Plugin files and modules: importing them runs the decorators that register their components."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

from fusionkit.errors import ConfigError, PluginError, cause_of
from fusionkit.registry import LONE_FILE

_LOADED: dict[str, str] = {}  # module name to hash of its file


def load_plugin_file(path: str) -> None:
    """Import a Python file whose ``register_module`` decorators register components; import it again if it changed.

    Raises:
        ConfigError: if the file cannot be read.
        PluginError: if its import fails.
    """
    try:
        file = Path(path).expanduser().resolve(strict=True)
        content = hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"plugin {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if file.suffix != ".py":
        raise ConfigError(f"plugin {path!r} is not a Python file", hint="its name must end in .py")
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
    """Import a module of ``custom_imports``.

    Raises:
        PluginError: if it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"custom_imports: {name!r} cannot be imported: {cause_of(error)}",
            hint="install it, or add its folder to PYTHONPATH",
        ) from error
