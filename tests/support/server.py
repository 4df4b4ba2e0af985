"""A complete server for tests: uvicorn on a free port of 127.0.0.1, in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Generator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar
from weakref import ref

import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import AuthMode, Config, load_config
from app.endpoints.connections import Gate, connection_limits
from app.endpoints.uvicorn.http import http_protocol
from app.endpoints.uvicorn.websocket import WebSocketProtocol
from app.main import Parley, create_app
from app.models.provider_account import ProviderType
from app.services.agent.tools import Toolbox
from app.services.clock import Clock, utc_now
from app.services.git.base import GitProvider
from app.services.llm.base import LLM
from tests.support.patience import PROGRAM_SECONDS, WAIT_SECONDS
from tests.support.tokens import HS256_SECRET

T = TypeVar("T")
ANY_MODEL = "openai/gpt-4o"
# The number of the request for which a task works. A background task inherits that of the request that started it.
_request_number: ContextVar[int] = ContextVar("request_number", default=0)


class RunningServer:
    """A running server with its services. A process can only have one at a time, since DBOS allows only one."""

    def __init__(
        self,
        config: Config,
        clock: Clock = utc_now,
        llm: LLM | None = None,
        git_providers: Mapping[ProviderType, GitProvider] | None = None,
        toolbox: Toolbox | None = None,
    ) -> None:
        self.config = config
        self._clock = clock
        self._llm = llm
        self._git_providers = git_providers
        self._toolbox = toolbox
        self._requests = 0
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        self.parley: Parley
        self.gate: Gate
        self._loop: asyncio.AbstractEventLoop
        self._server: uvicorn.Server

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self._started.result(WAIT_SECONDS)}"

    @property
    def socket_url(self) -> str:
        """The URL of the WebSocket endpoint."""
        return self.url.replace("http", "ws", 1) + "/graphql"

    def unread_bytes(self) -> list[int]:
        """Return the size of each WebSocket's write buffer: bytes that the system has not accepted yet."""

        async def count() -> list[int]:
            connections = self._server.server_state.connections
            sockets = [connection for connection in connections if isinstance(connection, WebSocketProtocol)]
            return [each.transport.get_write_buffer_size() for each in sockets]

        return self.call(count())

    def connections(self) -> list[ref[object]]:
        """Return weak references to the protocols of open connections."""

        async def copy() -> list[ref[object]]:
            return [ref[object](each) for each in self._server.server_state.connections]

        return self.call(copy())

    def works_for_request_after(self, number: int) -> bool:
        """Tell whether the current task works for a request after the given number, rather than in the background."""
        return _request_number.get() > number

    @property
    def requests(self) -> int:
        """The number of requests so far."""
        return self._requests

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's event loop, such as a job of its housekeeping, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    def start(self) -> None:
        """Start the server, and return once it answers and has loaded the LLM library."""
        self._thread.start()
        self._started.result(PROGRAM_SECONDS)
        if self._llm is None:
            # Otherwise the first conversation waits for the library, and its log has an event that says so.
            self.call(self.parley.llm.ready(ANY_MODEL))

    def stop(self) -> None:
        """Shut down gracefully, as a signal would do, once the start has ended, which holds the database."""
        wait([self._started], WAIT_SECONDS)
        if self._started.done() and self._started.exception() is None:
            self._server.should_exit = True
        self._thread.join(WAIT_SECONDS)

    def _numbered(self, app: ASGIApp) -> ASGIApp:
        async def numbered(scope: Scope, receive: Receive, send: Send) -> None:
            self._requests += 1
            _request_number.set(self._requests)
            await app(scope, receive, send)

        return numbered

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.parley = Parley(
            self.config, clock=self._clock, llm=self._llm, git_providers=self._git_providers, toolbox=self._toolbox
        )
        protocol = http_protocol(connection_limits(self.config))
        self.gate = protocol.gate
        self.turns = protocol.turns
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._numbered(create_app(self.config, parley=self.parley)),
                host="127.0.0.1",
                port=0,
                log_config=None,
                access_log=False,
                http=protocol,
                proxy_headers=False,
                ws=WebSocketProtocol,
                ws_max_size=self.config.max_body_bytes,
                timeout_graceful_shutdown=2,
            )
        )
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started and not serving.done():  # noqa: ASYNC110  uvicorn has no event to wait for.
            await asyncio.sleep(0.01)
        if not serving.done():
            self._started.set_result(self._server.servers[0].sockets[0].getsockname()[1])
        await serving
        if not self._started.done():
            self._started.set_exception(RuntimeError("the server did not start"))


@contextmanager
def running_server(
    data_dir: Path,
    *,
    database_url: str | None = None,
    clock: Clock = utc_now,
    llm: LLM | None = None,
    git_providers: Mapping[ProviderType, GitProvider] | None = None,
    toolbox: Toolbox | None = None,
    **settings: object,
) -> Generator[RunningServer]:
    """Run a server that accepts bearer tokens signed with ``HS256_SECRET``, so that every test can be its own caller.

    ``llm`` replaces LiteLLM, ``git_providers`` the clients of git hosts, ``toolbox`` the agent's tools.
    """
    given: dict[str, Any] = {
        "auth": AuthMode.JWT,
        "jwt_secret": SecretStr(HS256_SECRET.get_secret_value()),
        "llm_private_base_urls": True,
        "llm_rate_limit_wait_seconds": 0.05,
        **settings,
    }
    config = load_config(env_file=None, data_dir=data_dir, database_url=database_url, **given)
    server = RunningServer(config, clock, llm, git_providers, toolbox)
    try:
        server.start()
        yield server
    finally:
        server.stop()
