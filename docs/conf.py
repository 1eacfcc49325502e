"""The site: these pages, and the reference from docstrings.

Built by ``python -m sphinx --fail-on-warning docs build/docs``, without a network.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit._version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project, author, release = "fusionkit", "the authors of fusionkit", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
highlight_language = "none"
html_theme = "furo"
html_title = "fusionkit"
html_show_sourcelink = html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_custom_sections = ["Shape"]
napoleon_use_ivar = True
nitpicky = True
# Other people's names, and ours that have no page of their own.
nitpick_ignore_regex = [
    ("py:.*", r"(?!fusionkit\.(api|contracts|errors|registry|testing)\b).*"),
    ("py:.*", r"fusionkit\.(registry\.(registries\.T|spec|options)|testing\.(case|catalogue)).*"),
    ("py:.*", r"fusionkit\.contracts\.(option_types.*|fusion\.Windows)"),
    ("py:mod", r"fusionkit\.contracts"),
]

# Links to files that lie outside of docs/ lead, on the site, to the page that shows the same.
SHOWN_AS = {"../README.md": "index.md", "../benchmarks/README.md": "benchmarks.md", "../CHANGELOG.md": "changelog.md"}


def mend_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Point links that leave docs/ to pages of the site; a link without such a page becomes plain text."""

    def mended(link: re.Match[str]) -> str:
        text, path, anchor = link.groups()
        return f"[{text}]({SHOWN_AS[path]}{anchor or ''})" if path in SHOWN_AS else f"{text}"

    if "/" not in page:
        source[0] = re.sub(r"\[([^]]*)\]\((\.\./[^)#]*)(#[^)]*)?\)", mended, source[0])


def show_readme(app: Sphinx, page: str, source: list[str]) -> None:
    """Begin the first page with the README up to its list of pages, which the site has at its side."""
    if page != "index":
        return
    text = (Path(app.srcdir).parent / "README.md").read_text(encoding="utf-8").partition("\n## Documentation")[0]
    source[0] = f"{text.replace('](docs/', '](').replace('](benchmarks/README.md', '](benchmarks.md')}\n{source[0]}"


def show_commands(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the help of every command into the page that is for it."""
    if page != "reference/commands":
        return
    from typer.main import get_command
    from typer.testing import CliRunner

    from fusionkit.cli import app as commands

    for name, command in sorted(get_command(commands).commands.items()):
        source[0] += f"\n## fusionkit {name}\n"
        for below in getattr(command, "commands", [None]):
            words = [name, below, "--help"] if below else [name, "--help"]
            shown = CliRunner().invoke(commands, words, prog_name="fusionkit", env={"COLUMNS": "96", "NO_COLOR": "1"})
            lines = [line.rstrip() for line in shown.output.strip("\n").splitlines()]
            source[0] += "\n```text\n" + "\n".join(lines) + "\n```\n"


def show_components(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the tables of all components into the page that is for them."""
    if page != "components":
        return
    from typer.testing import CliRunner

    from fusionkit.cli import app as commands

    shown = CliRunner().invoke(commands, ["list", "--from", "fusionkit", "--format", "markdown"])
    if shown.exit_code:
        raise RuntimeError(shown.output)
    source[0] += f"\n{shown.stdout}"


def show_options(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the options of the sections of a config into the page on configs, in place of a comment per command."""
    if page != "configs":
        return
    from fusionkit import api

    def tables(mark: re.Match[str]) -> str:
        lines = []
        for key, section in api.describe_sections(mark[1]).items():
            lines += [f"`{key}`:", "", "| option | type | default | effect |", "|---|---|---|---|"]
            for option in section.options:
                shown = (option.type_name, json.dumps(option.default), section.explained[option.name])
                lines.append(f"| `{option.name}` | {' | '.join(text.replace('|', chr(92) + '|') for text in shown)} |")
            lines.append("")
        return "\n".join(lines).replace("``", "`")

    source[0] = re.sub(r"<!-- options of (\w+) -->", tables, source[0])


def show_notebook(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the cells of the notebook into the page that is for it."""
    if page != "notebook":
        return
    for cell in json.loads((Path(app.srcdir) / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        source[0] += f"\n```python\n{text}\n```\n" if cell["cell_type"] == "code" else f"\n{text}\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", mend_links)
    app.connect("source-read", show_readme)
    app.connect("source-read", show_commands)
    app.connect("source-read", show_components)
    app.connect("source-read", show_options)
    app.connect("source-read", show_notebook)
