"""Runs a server with fakes in a process of its own: ``python -m tests.support.served DIRECTORY``.

It prints its URL, and ends when its standard input is closed.
"""

import os
import sys
from pathlib import Path

from app.config import AuthMode
from app.models.provider_account import ProviderType
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.fake_llm import FakeLLM
from tests.support.server import running_server


def main() -> None:
    llm = FakeLLM()
    llm.load()
    repositories = [repository(number) for number in range(1, 4)]
    providers = {each: FakeGitProvider(found=repositories) for each in ProviderType}
    with running_server(
        Path(sys.argv[1]),
        llm=llm,
        git_providers=providers,
        auth=AuthMode.NONE,
        jwt_secret=None,
        rate_limit_per_second=None,
        max_concurrent_conversations=1000,
    ) as server:
        print(server.url, flush=True)
        # Nobody reads the pipe from now on: log lines would fill it, and block the server forever.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        sys.stdin.read()


if __name__ == "__main__":
    main()
