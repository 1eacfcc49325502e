"""Print a constraints file with the oldest version that pyproject.toml allows of each dependency."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement


def main() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in map(Requirement, listed):
        lowest = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        if lowest and requirement.name != project["name"]:
            print(f"{requirement.name}=={lowest[0]}")


if __name__ == "__main__":
    main()
