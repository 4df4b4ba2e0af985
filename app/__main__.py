"""The command line: ``python -m app serve``, ``schema``, ``database upgrade`` and ``database rotate-secrets``."""

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn

from app.config import Config, ConfigError, load_config
from app.logs import configure_logging
from app.services.lock_file import AlreadyLocked

if TYPE_CHECKING:
    from app.main import Parley

GRACEFUL_SHUTDOWN_SECONDS = 5
BACKLOG = 2048
TICK_SECONDS = 1.0
# Each socket is an open file, and the usual default of 1,024 is soon used up.
MAX_OPEN_FILES = 65536
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code: 2 for a wrong configuration, 1 for any other failure."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ConfigError, AlreadyLocked) as error:
        print(f"parley: {error}", file=sys.stderr)
        return 2
    except _CommandFailed as error:
        print(f"parley: {error}", file=sys.stderr)
        return 1


class _CommandFailed(Exception):
    """The database can't be used until the operator acts. The message is the one line that is printed."""


@contextlib.contextmanager
def _database_trouble() -> Generator[None]:
    """Convert errors that the operator can fix to one line; bugs keep their traceback."""
    from app.models.database.database import DatabaseTrouble, is_outage, is_unusable, reason

    try:
        yield
    except DatabaseTrouble as error:
        raise _CommandFailed(str(error)) from None
    except Exception as error:  # What is neither of the two is raised again.
        if is_outage(error):
            raise _CommandFailed(f"the database can't be reached: {reason(error)}") from None
        if is_unusable(error):
            raise _CommandFailed(f"the database can't be used: {reason(error)}") from None
        raise


class _Server(uvicorn.Server):
    """uvicorn's server, which also prints its URL once it is ready, and exits normally after a signal."""

    def __init__(self, config: uvicorn.Config, ending: asyncio.Event) -> None:
        super().__init__(config)
        self._ending = ending
        self._exits = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Tick once a second, which is how often the date header changes. uvicorn ticks ten times."""
        self._loop = asyncio.get_running_loop()
        # Every tenth of uvicorn's ticks sets the header, by its number.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exits.wait(), TICK_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Wake ``main_loop``, which would otherwise see the signal at its next tick."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._exits.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        from app.endpoints.uvicorn.accepting import accept_more

        await super().startup(sockets)
        if self.started and not self.should_exit:
            await accept_more(self)
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            name = f"[{host}]" if ":" in host else host
            print(f"Parley ready at http://{name}:{port}/", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        with super().capture_signals():
            yield
            # Otherwise uvicorn raises the signals again, before everything else has been closed.
            self._captured_signals.clear()


def _serve(options: argparse.Namespace) -> int:
    if not options.demo:
        return _run_server(_config({"host": options.host, "port": options.port}))
    from app import demo

    # Until uvicorn handles signals, SIGTERM's default would end the process without removing the directory.
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="parley-demo-") as directory:
        overrides = {"host": options.host, "port": options.port, "data_dir": Path(directory), **demo.SETTINGS}
        return _run_server(_config(overrides), demo.seed)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)


def _allow_open_files() -> None:
    """Raise the limit on open files as far as the system allows, up to ``MAX_OPEN_FILES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < target:
        # On macOS the real limit is lower than the reported hard limit.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def _run_server(config: Config, prepare: Callable[["Parley"], Awaitable[None]] | None = None) -> int:
    # The schema and the database are imported only by the commands that need them.
    from app.endpoints.connections import connection_limits
    from app.endpoints.uvicorn.http import http_protocol
    from app.endpoints.uvicorn.websocket import WebSocketProtocol
    from app.main import Parley, create_app

    _allow_open_files()
    parley = Parley(config)
    app = create_app(config, parley=parley)
    server = _Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            http=http_protocol(connection_limits(config)),
            # Nothing uses the client's address, so a proxy's headers about it need not be parsed.
            proxy_headers=False,
            ws=WebSocketProtocol,
            ws_max_size=config.max_body_bytes,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
            # ``serve`` below starts and stops everything itself: uvicorn would log a failed lifespan as a traceback.
            lifespan="off",
        ),
        app.state.ending,
    )

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            with _database_trouble():
                await stack.enter_async_context(parley.running())
            if prepare is not None:
                await prepare(parley)
                print("This is a demonstration: what is in it is gone when the server ends.", flush=True)
            print(parley.shell.describe(), flush=True)
            await server.serve()

    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(serve())
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit:
        # uvicorn has logged why it can't listen.
        return 1
    return 0 if server.started else 1


def _schema(options: argparse.Namespace) -> int:
    from app.graphql.schema import build_schema

    schema = build_schema()
    print(json.dumps(schema.possible_types(), indent=2) if options.possible_types else schema.as_str())
    return 0


def _upgrade(_options: argparse.Namespace) -> int:
    from app.models import migration
    from app.models.database.database import Database, database_url

    async def upgrade() -> None:
        database = Database(database_url(_config()))
        try:
            await migration.upgrade(database)
        finally:
            await database.close()

    with _database_trouble():
        asyncio.run(upgrade())
    print("The database is up to date.")
    return 0


def _rotate_secrets(_options: argparse.Namespace) -> int:
    from app.main import Parley
    from app.models import migration

    async def rotate() -> tuple[int, int]:
        parley = Parley(_config())
        try:
            # The tables do not exist before the first start.
            await migration.upgrade(parley.database)
            return await parley.services.settings.rotate_secrets()
        finally:
            await parley.database.close()

    with _database_trouble():
        rotated, unreadable = asyncio.run(rotate())
    print(f"Secrets encrypted with the first key now: {rotated}.")
    if unreadable:
        print(f"Secrets that none of the keys decrypts, to be saved again by their callers: {unreadable}.")
    return 1 if unreadable else 0


def _config(overrides: Mapping[str, object] | None = None) -> Config:
    """Load the configuration and set up logging; ``overrides`` (by field name, ``None`` is ignored) take precedence."""
    settings = dict(overrides or {})
    config = load_config(env_file=Path(".env"), **settings)
    configure_logging(config)
    structlog.get_logger(__name__).debug("configuration.loaded")
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app", description="Parley, a GraphQL API for agents.")
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument("--host", help="address to listen on (PARLEY_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 for a free one (PARLEY_PORT)")
    serve.add_argument(
        "--demo",
        action="store_true",
        help="serve conversations in every status from a database of its own, which is gone afterwards",
    )
    serve.set_defaults(run=_serve)
    schema = commands.add_parser("schema", help="print the schema")
    schema.add_argument(
        "--possible-types",
        action="store_true",
        help="print which types each interface and union has, as JSON for clients' caches",
    )
    schema.set_defaults(run=_schema)
    database = commands.add_parser("database", help="look after the database").add_subparsers(
        required=True, metavar="action"
    )
    database.add_parser("upgrade", help="bring the tables up to date").set_defaults(run=_upgrade)
    database.add_parser("rotate-secrets", help="encrypt stored secrets with the first key").set_defaults(
        run=_rotate_secrets
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
