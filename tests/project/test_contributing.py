"""CONTRIBUTING.md: its table has every package and module at the top of ``app``, and every path in it exists."""

import ast
import re

from tests.support.paths import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
TABLE = "\n".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `app/"))
# Built files, which are no Python package.
STATIC = ROOT / "app" / "static"


def test_the_table_has_every_package_and_top_level_module() -> None:
    app = ROOT / "app"
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in app.rglob("__init__.py") if STATIC not in path.parents}
    modules = {f"app/{path.name}" for path in app.glob("*.py")}

    documented = set(re.findall(r"`([^`]+)`", TABLE))

    assert documented == (packages | modules | {"app/static/"}) - {"app/", "app/__init__.py"}


def test_every_path_in_the_text_exists() -> None:
    paths = re.findall(r"`((?:app|tests|docs|clients|benchmarks|playground)/[\w./-]*)`", TEXT)

    assert len(paths) > 40
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


def test_every_package_says_in_its_docstring_what_it_is_for() -> None:
    packages = [path for path in (ROOT / "app").rglob("__init__.py") if STATIC not in path.parents]
    silent = [str(path) for path in packages if not ast.get_docstring(ast.parse(path.read_text()))]

    assert silent == []
