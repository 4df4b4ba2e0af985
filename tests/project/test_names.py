"""Names of classes: one name, one meaning, over the whole application."""

import ast
from collections import defaultdict
from pathlib import Path

from tests.support.paths import ROOT

APP = ROOT / "app"


def classes() -> dict[str, list[Path]]:
    """Return the modules, relative to ``app``, of each class, by its name without a leading underscore."""
    modules: defaultdict[str, list[Path]] = defaultdict(list)
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                modules[node.name.lstrip("_")].append(path.relative_to(APP))
    return modules


def is_one_noun(name: str, modules: list[Path]) -> bool:
    """A noun may have a GraphQL type and a class below it, and each git host has JSON for users and the like."""
    if name.endswith("JSON"):
        return all(module.parts[:2] == ("services", "git") for module in modules)
    return sorted(module.parts[0] for module in modules) in (["models", "schema"], ["schema", "services"])


def test_no_two_classes_have_one_name() -> None:
    doubled = {name: modules for name, modules in classes().items() if len(modules) > 1}

    assert {name: modules for name, modules in doubled.items() if not is_one_noun(name, modules)} == {}
