"""A field is added to ``Conversation`` by one line of its row, and two of its type."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT, TESTS
from tests.support.patience import PROGRAM_SECONDS

PROGRAM = TESTS / "schema" / "added_field.py"


def insert_behind(file: Path, line: str, new: str) -> None:
    text = file.read_text()
    assert text.count(f"{line}\n") == 1, line
    file.write_text(text.replace(f"{line}\n", f"{line}\n{new}\n"))


def test_a_field_is_a_line_of_the_row_and_two_of_the_type(tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(ROOT / "app", app, ignore=shutil.ignore_patterns("static", "__pycache__"))
    insert_behind(app / "models/rows/conversation.py", "    is_cost_known: bool", "    title_revision: int")
    schema = app / "schema/conversation.py"
    insert_behind(
        schema,
        '    usage: TokenUsage = strawberry.field(description="The total of all its LLM calls.")',
        '    title_revision: int = strawberry.field(description="How often it was renamed.")',
    )
    insert_behind(
        schema,
        "        updated_at=row.updated_at,",
        "        title_revision=row.title_revision,",
    )
    shown = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "parley.db")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr[-2000:]
    assert json.loads(shown.stdout) == [{"conversations": {"nodes": [{"titleRevision": 7}]}}] * 6
