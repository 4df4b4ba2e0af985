"""Logs: one form for all records, each once, and no secret in any of them."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import cast

import httpx
import pytest
import structlog
from dbos._logger import init_logger
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from websockets import Subprotocol
from websockets.asyncio.client import connect

from app.config import load_config
from app.logs import configure_logging, current_reference_id, forward_library_logs, hide_secrets, new_reference_id
from tests.support import documents
from tests.support.git_server import GitServer, git_server
from tests.support.patience import PROGRAM_SECONDS, WAIT_SECONDS
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import ScriptedLLM, error

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("app.tests")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def configured(log_format: str = "json", log_level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(load_config(env_file=None, log_format=log_format, log_level=log_level), stream=stream)
    return stream


def records(stream: io.StringIO) -> list[dict[str, object]]:
    return [cast("dict[str, object]", json.loads(line)) for line in stream.getvalue().splitlines()]


def without_time(stream: io.StringIO) -> list[dict[str, object]]:
    return [{name: value for name, value in record.items() if name != "timestamp"} for record in records(stream)]


# Form


def test_a_record_is_one_line_of_json() -> None:
    stream = configured()
    log.info("conversation.created", conversation_id="c1", events=3, title="Zoë")
    assert without_time(stream) == [
        {
            "event": "conversation.created",
            "conversation_id": "c1",
            "events": 3,
            "title": "Zoë",
            "level": "info",
            "logger": "app.tests",
        }
    ]
    assert str(records(stream)[0]["timestamp"]).endswith("Z")


def test_a_record_is_one_line_of_text() -> None:
    stream = configured("console")
    log.warning("run.retried", attempt=2)
    _, _, line = stream.getvalue().partition(" ")
    assert line.split() == ["[warning", "]", "run.retried", "[app.tests]", "attempt=2"]
    # Escape sequences are for terminals, and this is none.
    assert "\x1b" not in stream.getvalue()


@pytest.fixture(autouse=True)
def untouched_litellm_logger() -> Iterator[None]:
    """The server silences LiteLLM's logger in its process for good; these tests want it as it comes."""
    logger = logging.getLogger("LiteLLM")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("name", ["dbos", "LiteLLM", "uvicorn.error", "sqlalchemy.engine", "asyncio", "some.library"])
def test_libraries_come_out_in_the_same_form_once(name: str) -> None:
    stream = configured()
    logging.getLogger(name).warning("%s of %d", "two", 3)
    assert without_time(stream) == [{"event": "two of 3", "level": "warning", "logger": name}]


def test_handlers_that_libraries_add_later_do_not_double_their_records(capfd: pytest.CaptureFixture[str]) -> None:
    stream = configured()
    # This is what DBOS does when it starts.
    init_logger()
    logging.getLogger("dbos").warning("recovering")
    # And this is what litellm does when it is imported.
    logging.getLogger("LiteLLM").addHandler(logging.StreamHandler())
    forward_library_logs()
    logging.getLogger("LiteLLM").warning("slow")
    assert [record["event"] for record in records(stream)] == ["recovering", "slow"]
    assert capfd.readouterr() == ("", "")


def test_a_second_configuration_replaces_the_first() -> None:
    first = configured()
    second = configured("json", "WARNING")
    log.info("unseen")
    log.warning("seen")
    logging.getLogger("some.library").warning("seen too")
    assert first.getvalue() == ""
    assert [record["event"] for record in records(second)] == ["seen", "seen too"]


def test_warnings_are_records() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning("look out", UserWarning, "file.py", 1)
    assert [record["logger"] for record in records(stream)] == ["py.warnings"]
    assert "UserWarning: look out" in str(records(stream)[0]["event"])


# Levels


def test_libraries_are_heard_from_warning_on() -> None:
    stream = configured()
    for name in ("dbos", "LiteLLM", "httpx", "uvicorn.error", "sqlalchemy.engine.Engine"):
        # DBOS sets the level of its logger itself, after ours.
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).info("unseen")
        logging.getLogger(name).warning("seen")
        logging.getLogger(name).setLevel(logging.NOTSET)
    assert [record["event"] for record in records(stream)] == ["seen"] * 5


def test_debug_hears_libraries_too_but_no_message_bodies() -> None:
    stream = configured("json", "DEBUG")
    log.debug("ours")
    logging.getLogger("dbos").debug("its steps")
    for name in (
        "uvicorn.error",
        "httpx",
        "httpcore.http11",
        "LiteLLM",
        "openai._base_client",
        "sqlalchemy.engine",
        "aiosqlite",
        "websockets.server",
        "asyncpg",
        "urllib3.connectionpool",
        "botocore.endpoint",
        "a.library.of.tomorrow",
    ):
        logging.getLogger(name).debug("a body")
    for name in ("httpx", "httpcore.connection", "urllib3.connectionpool", "uvicorn.error"):
        logging.getLogger(name).info("an address")
    assert [record["event"] for record in records(stream)] == ["ours", "its steps"]


def test_the_access_log_is_off_since_addresses_of_queries_hold_their_text() -> None:
    stream = configured("json", "DEBUG")
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/graphql?query={me}", "1.1", 200)
    assert stream.getvalue() == ""


# Secrets


def test_values_under_secret_names_are_hidden() -> None:
    names = [
        "token",
        "gitToken",
        "api_key",
        "llmApiKey",
        "Authorization",
        "password",
        "jwt_secret",
        "Set-Cookie",
        "credentials",
    ]
    assert hide_secrets(None, "info", dict.fromkeys(names, "hunter2-hunter2")) == dict.fromkeys(names, "<hidden>")


def test_secret_strings_are_hidden_under_any_name_and_depth() -> None:
    event = hide_secrets(None, "info", {"event": "e", "a": SecretStr("hunter2"), "b": [{"c": (SecretStr("hunter2"),)}]})
    assert event == {"event": "e", "a": "<hidden>", "b": [{"c": ["<hidden>"]}]}
    assert hide_secrets(None, "info", {"headers": {"authorization": "x", "accept": "y"}}) == {
        "headers": {"authorization": "<hidden>", "accept": "y"}
    }


def test_counts_of_tokens_stay() -> None:
    assert hide_secrets(None, "info", {"prompt_tokens": 12, "cost": 0.5, "has_token": True, "token": None}) == {
        "prompt_tokens": 12,
        "cost": 0.5,
        "has_token": True,
        "token": None,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: <hidden>"),
        ("sent Bearer abcdefgh.ijkl", "sent Bearer <hidden>"),
        ("< cookie: session=opaque; theme=dark", "< cookie: <hidden>"),
        ("> Set-Cookie:session=opaque", "> Set-Cookie: <hidden>"),
        ("[(b'cookie', b'session=opaque'), (b'host', b'h')]", "[(b'cookie', '<hidden>'), (b'host', b'h')]"),
        ("{'X-Api-Key': 'opaque', 'Host': 'h'}", "{'X-Api-Key': '<hidden>', 'Host': 'h'}"),
        ('{"proxy-authorization":"opaque"}', '{"proxy-authorization": "<hidden>"}'),
        ("the cookie jar is empty", "the cookie jar is empty"),
        ("postgresql://ada:p4ssword@db/parley", "postgresql://<hidden>@db/parley"),
        ("https://ghp_x@github.com/o/r", "https://<hidden>@github.com/o/r"),
        ("postgresql://ada:p@ss:w@rd@db/parley", "postgresql://<hidden>@db/parley"),
        ("GET https://h/v1/m:go?alt=sse&key=opaque#x", "GET https://h/v1/m:go?alt=sse&key=<hidden>#x"),
        ("'/graphql?access_token=opaque' x", "'/graphql?access_token=<hidden>' x"),
        ("?X-Amz-Signature=opaque&sig=opaque", "?X-Amz-Signature=<hidden>&sig=<hidden>"),
        ("host=db password=opaque user=ada", "host=db password=<hidden> user=ada"),
        ("host=db password='op aque' user=ada", "host=db password=<hidden> user=ada"),
        ("https://h/search?q=monkey&keyboard=us", "https://h/search?q=monkey&keyboard=us"),
        ("got eyJhbGciOi.eyJzdWIiOi.c2ln!", "got <hidden>!"),
        ("key sk-proj-0123456789abcdef refused", "key <hidden> refused"),
        ("ghp_0123456789abcdef", "<hidden>"),
        ("https://example.com/a@b", "https://example.com/a@b"),
    ],
)
def test_known_forms_of_secrets_are_hidden_in_text(text: str, shown: str) -> None:
    assert hide_secrets(None, "info", {"event": text, "detail": [text], "exception": text}) == {
        "event": shown,
        "detail": [shown],
        "exception": shown,
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_show_no_local_variables(log_format: str) -> None:
    def fail(password: str) -> None:
        message = f"no luck with {len(password)} characters"
        raise RuntimeError(message)

    stream = configured(log_format)
    # Put together here, since a traceback quotes the lines of its source.
    password = "-".join(["hunter2"] * 2)
    try:
        fail(password)
    except RuntimeError:
        log.exception("run.failed")
        logging.getLogger("some.library").exception("failed")
    shown = stream.getvalue()
    assert shown.count("RuntimeError: no luck with 15 characters") == 2
    assert shown.count("Traceback (most recent call last)") == 2
    assert password not in shown


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_foreign_text_can_not_forge_lines_or_steer_a_terminal(log_format: str) -> None:
    stream = configured(log_format)
    logging.getLogger("some.library").warning("GET /\n2026-01-01 [info] forged\r\x1b[2J\u2028")
    log.warning("seen", path="\x1b[31m")
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()
    assert "\\n2026-01-01 [info] forged\\r\\x1b[2J\\u2028" in stream.getvalue().replace("\\\\", "\\")


def test_records_are_bounded() -> None:
    event = hide_secrets(None, "info", {"event": "a" * 50_000 + "end", "list": [1] * 1_000, "exception": "b" * 90_000})
    assert len(str(event["event"])) < 8_100
    assert str(event["event"]).endswith("end")
    assert event["list"] == [1] * 100
    assert len(str(event["exception"])) < 32_100
    deep: object = "x"
    for _ in range(200):
        deep = [deep]
    assert "[[[" in str(hide_secrets(None, "info", {"deep": deep})["deep"])


# References


def test_records_carry_the_reference_of_their_context() -> None:
    stream = configured()
    log.info("before")
    reference_id = new_reference_id()
    log.info("after")
    logging.getLogger("some.library").warning("after")
    assert current_reference_id() == reference_id
    assert [record.get("reference_id") for record in records(stream)] == [None, reference_id, reference_id]
    assert len(reference_id) == 12
    assert int(reference_id, 16) >= 0
    assert new_reference_id() != reference_id


def test_real_libraries_print_nothing_of_their_own() -> None:
    program = """
import logging
from app.config import load_config
from app.logs import configure_logging, forward_library_logs
configure_logging(load_config(env_file=None, log_format="json"))
import litellm
forward_library_logs()
logging.getLogger("LiteLLM").warning("from litellm")
from dbos._logger import init_logger
init_logger()
logging.getLogger("dbos").warning("from dbos")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=PROGRAM_SECONDS,
    )
    assert ran.stdout == ""
    lines = [cast("dict[str, object]", json.loads(line)) for line in ran.stderr.splitlines()]
    assert [line["event"] for line in lines if line["logger"] in {"dbos", "LiteLLM"}] == ["from litellm", "from dbos"]


async def test_a_server_on_debug_logs_nothing_that_callers_authenticate_with(
    tmp_path: Path, llm: ScriptedLLM, postgres_url: str
) -> None:
    headers = {
        "Cookie": "session=cookie-of-the-caller",
        "Authorization": "Custom authorization-of-the-caller",
        "X-Api-Key": "key-of-the-caller",
    }
    address = "?access_token=query-of-the-caller"
    password = str(make_url(postgres_url).password)
    with git_server(tmp_path / "served") as host:
        host.add({"README.md": "An engine."})
        host.token = "git-token-of-the-caller"
        server = ForkedServer(
            tmp_path / "data",
            postgres_url,
            log_level="DEBUG",
            llm_private_base_urls="true",
            git_private_hosts=host.origin,
        )
        await talk(server, llm, host, headers, address)
    log_text = server.log()
    assert "configuration.loaded" in log_text
    secrets = ("of-the-caller", "of the caller", password)
    assert [line for line in log_text.splitlines() if any(secret in line for secret in secrets)] == []


async def talk(
    server: ForkedServer, llm: ScriptedLLM, host: GitServer, headers: Mapping[str, str], address: str
) -> None:
    """Say and send secrets of all kinds, in forms that no key is known by; some are refused and repeated."""
    try:
        await server.start()
        settings = {"llmModel": "openai/scripted", "llmBaseUrl": llm.url, "llmApiKey": "model-key-of-the-caller"}
        await server.execute(documents.UPDATE_SETTINGS, input=settings)
        given = {"provider": "GITHUB", "token": host.token, "host": host.host}
        answer = await server.execute(documents.SET_TOKEN, input=given)
        assert answer["setProviderToken"]["userErrors"] == []
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.get(f"{server.url}/graphql{address}&query={{__typename}}")
            assert answer.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
        protocols = [Subprotocol("graphql-transport-ws")]
        async with connect(server.socket_url + address, subprotocols=protocols, additional_headers=headers) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": {"token": "payload-of-the-caller"}}))
            assert json.loads(await socket.recv())["type"] == "connection_ack"
        llm.script(error(401, "No: model-key-of-the-caller", headers={"set-cookie": "session=cookie-of-the-caller"}))
        host.add({"README.md": "Another."}, "ada/other")
        # Its clone is refused, and git's answer repeats the token.
        host.faults["ada/other"] = (403, f"No: {host.token}")
        for name in ("ada/engine", "ada/other"):
            repository = {"byName": {"provider": "GITHUB", "nameWithOwner": name}}
            given = {"title": "T", "initialMessage": {"text": "message of the caller"}, "repository": repository}
            created = (await server.execute(documents.CREATE, input=given))["createConversation"]
            assert created["userErrors"] == []
            async with asyncio.timeout(WAIT_SECONDS):
                status = None
                while status != "ERROR":
                    found = await server.execute(documents.GET, id=created["conversation"]["id"])
                    status = found["conversation"]["status"]
                    await asyncio.sleep(0.02)
        assert len(llm.requests) == 1
    finally:
        await server.close()
