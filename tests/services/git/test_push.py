"""The directory of the bare repositories that are pushed from; pushes themselves are in ``test_pushed_branch.py``."""

from pathlib import Path

from app.config import load_config
from app.services.git.push import GitPusher


async def test_what_a_killed_server_left_of_a_push_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "pushes" / "tmpabc" / "bare.git"
    left.mkdir(parents=True)
    (left / "objects.pack").write_bytes(b"PACK")
    await GitPusher(load_config(env_file=None, data_dir=tmp_path), tmp_path / "pushes").sweep()
    assert not (tmp_path / "pushes").exists()
