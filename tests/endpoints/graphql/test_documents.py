"""Documents that are named by their SHA-256: the operator's trusted ones, and those that clients have had kept."""

import json
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import ConfigError, TrustedDocuments, load_config
from app.endpoints.graphql.documents import PERSISTED_MAX_LENGTH, DocumentRefused, Documents
from tests.support.client import NO_TLS, Client, RequestFailed
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server
from tests.support.wire import ready

JSON = dict[str, Any]
KNOWN = "query Known { known: __typename }"
OTHER = "query Other { other: __typename }"
NOT_FOUND = {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}
NOT_TRUSTED = {
    "message": "This server executes only documents that its operator has registered.",
    "extensions": {"code": "DOCUMENT_NOT_TRUSTED"},
}


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def persisted(text: str, **fields: object) -> JSON:
    """A request as Apollo's link for persisted queries sends it."""
    return {**fields, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest(text)}}}


@contextmanager
def serving(directory: Path, mode: TrustedDocuments) -> Generator[RunningServer]:
    """A server with one trusted document."""
    documents = directory / "documents"
    documents.mkdir()
    (documents / "known.json").write_text(json.dumps({digest(KNOWN): KNOWN}))
    with running_server(directory / "data", trusted_documents=mode, trusted_documents_dir=documents) as server:
        yield server


@asynccontextmanager
async def caller(server: RunningServer) -> AsyncGenerator[httpx.AsyncClient]:
    """Takes the newer media type, so that what was not executed has a status of its own."""
    async with Client(server) as client:
        headers = {"Authorization": f"Bearer {client.token}", "Accept": "application/graphql-response+json"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=NO_TLS, timeout=WAIT_SECONDS) as http:
            yield http


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Documents are the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data"), persisted_queries=2) as started:
        yield started


async def test_a_document_is_kept_by_its_hash_once_it_was_sent_with_it(server: RunningServer) -> None:
    async with caller(server) as http:
        unknown = await http.post("/graphql", json=persisted(OTHER))
        assert (unknown.status_code, unknown.json()) == (400, {"errors": [NOT_FOUND]})
        older = await http.post("/graphql", json=persisted(OTHER), headers={"Accept": "application/json"})
        assert (older.status_code, older.json()) == (200, {"errors": [NOT_FOUND]})
        sent = await http.post("/graphql", json=persisted(OTHER, query=OTHER))
        assert sent.json() == {"data": {"other": "Query"}}
        known = await http.post("/graphql", json=persisted(OTHER))
        assert known.json() == {"data": {"other": "Query"}}
        request = persisted(OTHER)
        by_get = await http.get("/graphql", params={"extensions": json.dumps(request["extensions"])})
        assert by_get.json() == {"data": {"other": "Query"}}


async def test_those_unused_for_longest_go(server: RunningServer) -> None:
    async with caller(server) as http:
        first, second, third = (f"{{ a{number}: __typename }}" for number in range(3))
        for text in (first, second, first, third):
            assert (await http.post("/graphql", json=persisted(text, query=text))).status_code == 200
        assert (await http.post("/graphql", json=persisted(first))).status_code == 200
        assert (await http.post("/graphql", json=persisted(second))).json() == {"errors": [NOT_FOUND]}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({**persisted(KNOWN), "query": OTHER}, "PERSISTED_QUERY_HASH_MISMATCH"),
        ({"extensions": {"persistedQuery": {"version": 2, "sha256Hash": digest(KNOWN)}}}, "BAD_REQUEST"),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "../../etc/passwd"}}}, "BAD_REQUEST"),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "BAD_REQUEST"),
        ({"extensions": {"persistedQuery": 5}}, "BAD_REQUEST"),
        ({"extensions": {}}, "BAD_REQUEST"),
        ({"documentId": 5}, "BAD_REQUEST"),
        ({"documentId": "md5:d41d8cd98f00b204e9800998ecf8427e"}, "BAD_REQUEST"),
        ({"documentId": f"sha256:{digest(KNOWN)}"}, "DOCUMENT_NOT_FOUND"),
    ],
)
async def test_what_names_no_document_is_refused(server: RunningServer, request_: JSON, code: str) -> None:
    async with caller(server) as http:
        response = await http.post("/graphql", json=request_)
        assert response.status_code == 400
        assert response.json()["errors"][0]["extensions"] == {"code": code}


async def test_a_long_document_is_executed_and_not_kept(server: RunningServer) -> None:
    text = OTHER + " " * PERSISTED_MAX_LENGTH
    async with caller(server) as http:
        assert (await http.post("/graphql", json=persisted(text, query=text))).json() == {"data": {"other": "Query"}}
        assert (await http.post("/graphql", json=persisted(text))).json() == {"errors": [NOT_FOUND]}


async def test_nothing_is_kept_where_the_operator_says_so(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", persisted_queries=0) as server:
        async with caller(server) as http:
            assert (await http.post("/graphql", json=persisted(OTHER, query=OTHER))).status_code == 200
            refused = (await http.post("/graphql", json=persisted(OTHER))).json()["errors"]
    assert refused == [
        {"message": "PersistedQueryNotSupported", "extensions": {"code": "PERSISTED_QUERY_NOT_SUPPORTED"}}
    ]


async def test_trusted_documents_may_be_named(tmp_path: Path) -> None:
    with serving(tmp_path, TrustedDocuments.ALLOW) as server:
        async with caller(server) as http:
            for request in (
                {"documentId": digest(KNOWN)},
                {"documentId": f"sha256:{digest(KNOWN)}"},
                persisted(KNOWN),
                {"query": "", "documentId": digest(KNOWN)},
            ):
                assert (await http.post("/graphql", json=request)).json() == {"data": {"known": "Query"}}
            by_get = await http.get("/graphql", params={"documentId": digest(KNOWN)})
            assert by_get.json() == {"data": {"known": "Query"}}
            assert (await http.post("/graphql", json={"query": OTHER})).json() == {"data": {"other": "Query"}}


async def test_only_trusted_documents_may_be_all_there_is(tmp_path: Path) -> None:
    with serving(tmp_path, TrustedDocuments.ONLY) as server:
        async with caller(server) as http:
            for request in ({"documentId": digest(KNOWN)}, persisted(KNOWN), {"query": KNOWN}):
                assert (await http.post("/graphql", json=request)).json() == {"data": {"known": "Query"}}
            for request in (
                {"query": OTHER},
                {"query": KNOWN + " "},
                {"query": OTHER, "documentId": digest(KNOWN)},
                {"documentId": digest(OTHER)},
                persisted(OTHER, query=OTHER),
                persisted(OTHER),
            ):
                refused = await http.post("/graphql", json=request)
                assert (refused.status_code, refused.json()) == (400, {"errors": [NOT_TRUSTED]})


async def test_sockets_keep_to_the_same_documents(tmp_path: Path) -> None:
    with serving(tmp_path, TrustedDocuments.ONLY) as server:
        async with Client(server) as client, ready(client) as wire:
            await wire.send({"id": "1", "type": "subscribe", "payload": {"documentId": digest(KNOWN)}})
            assert (await wire.receive())["payload"] == {"data": {"known": "Query"}}
            assert await wire.receive() == {"id": "1", "type": "complete"}
            await wire.send({"id": "2", "type": "subscribe", "payload": {"query": OTHER}})
            assert await wire.receive() == {"id": "2", "type": "error", "payload": [NOT_TRUSTED]}
            await wire.send({"id": "3", "type": "subscribe", "payload": persisted(KNOWN)})
            assert (await wire.receive())["payload"] == {"data": {"known": "Query"}}
        async with Client(server) as client:
            with pytest.raises(RequestFailed):
                await client.execute(OTHER)


def documents(directory: Path) -> Documents:
    return Documents(
        load_config(env_file=None, trusted_documents=TrustedDocuments.ALLOW, trusted_documents_dir=directory)
    )


def test_manifests_of_every_usual_kind_are_read(tmp_path: Path) -> None:
    relay, apollo, alone = "{ relay: __typename }", "{ apollo: __typename }", "{ alone: __typename }\n"
    (tmp_path / "relay.json").write_text(json.dumps({digest(relay): relay}))
    operation = {"id": digest(apollo), "name": "A", "type": "query", "body": apollo}
    (tmp_path / "apollo.json").write_text(
        json.dumps({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]})
    )
    (tmp_path / "alone.graphql").write_text(alone)
    (tmp_path / "README.md").write_text("Not read.")
    found = documents(tmp_path)
    assert [found.resolve(None, digest(text)) for text in (relay, apollo, alone)] == [relay, apollo, alone]
    with pytest.raises(DocumentRefused, match="No document of this id"):
        found.resolve(None, digest("Not read."))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "is no manifest"),
        ("a.json", json.dumps({digest(KNOWN): OTHER}), "is not the SHA-256 of its document"),
        ("a.json", json.dumps({digest(KNOWN): 5}), "is not the SHA-256 of its document"),
        ("a.json", json.dumps({"d41d8cd98f00b204e9800998ecf8427e": KNOWN}), "d41d8cd98f00b204e9800998ecf8427e is not"),
        (
            "a.json",
            json.dumps({"format": "apollo-persisted-query-manifest", "operations": [{"id": "x"}]}),
            "x is not the SHA-256",
        ),
        ("a.txt", KNOWN, "no manifest (.json) and no document (.graphql)"),
    ],
)
def test_what_cannot_be_trusted_ends_the_start_with_a_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as refused:
        documents(tmp_path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_directory_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        documents(tmp_path / "missing")
    with pytest.raises(ConfigError, match="needs PARLEY_TRUSTED_DOCUMENTS_DIR"):
        Documents(load_config(env_file=None, trusted_documents=TrustedDocuments.ONLY))
