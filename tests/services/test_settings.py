"""Settings: what is saved, what is refused, and what is left alone."""

from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.server import running_server

JSON = dict[str, Any]

SETTINGS = (
    "{ settings { id llmModel llmBaseUrl llmApiKeySet maxIterations maxBudgetUsd confirmationMode publishPolicy } }"
)
DEFAULTS = {
    "llmModel": "demo/assistant",
    "llmBaseUrl": None,
    "llmApiKeySet": False,
    "maxIterations": 100,
    "maxBudgetUsd": None,
    "confirmationMode": False,
    "publishPolicy": "ALWAYS_ASK",
}
CHOSEN = {
    "llmModel": "openai/gpt-4o",
    "llmBaseUrl": "http://127.0.0.1:9/v1",
    "maxIterations": 7,
    "maxBudgetUsd": 1.5,
    "confirmationMode": True,
    "publishPolicy": "ALLOW_PULL_REQUESTS",
}


async def saved(client: Client) -> JSON | None:
    return cast("JSON | None", (await client.execute(SETTINGS))["settings"])


async def update(client: Client, **fields: object) -> JSON:
    return cast("JSON", (await client.execute(documents.UPDATE_SETTINGS, input=fields))["updateSettings"])


async def test_there_are_none_until_some_are_saved_and_then_the_defaults(client: Client) -> None:
    assert await saved(client) is None
    answer = await update(client)
    settings_id = answer["settings"].pop("id")
    assert answer == {"settings": DEFAULTS, "userErrors": []}
    assert await saved(client) == {"id": settings_id, **DEFAULTS}


async def test_what_is_omitted_stays_and_null_is_the_default(client: Client) -> None:
    await update(client, **CHOSEN, llmApiKey="sk-test-key-0123456789")
    expected: JSON = {**CHOSEN, "llmApiKeySet": True}
    for field, value in DEFAULTS.items():
        found = await saved(client)
        assert found is not None
        del found["id"]
        assert found == expected
        await update(client, **{field if field != "llmApiKeySet" else "llmApiKey": None})
        expected[field] = value
    assert expected == DEFAULTS


async def test_a_blank_key_is_none(client: Client) -> None:
    await update(client, llmApiKey="sk-test-key-0123456789")
    answer = await update(client, llmApiKey="  ")
    assert answer["settings"]["llmApiKeySet"] is False


async def test_what_is_around_a_model_and_a_key_is_stripped(client: Client) -> None:
    answer = await update(client, llmModel="  openai/gpt-4o ", llmApiKey=" sk-test-key-0123456789\n")
    assert answer["settings"]["llmModel"] == "openai/gpt-4o"
    assert answer["settings"]["llmApiKeySet"] is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("llmModel", ""),
        ("llmModel", "x" * 201),
        ("llmModel", "no-provider-has-this"),
        ("llmModel", "openai/gpt\u0000"),
        ("llmBaseUrl", "ftp://llm.example.com"),
        ("llmBaseUrl", "https://user:password@llm.example.com"),
        ("maxIterations", 0),
        ("maxIterations", 1001),
        ("maxBudgetUsd", 0),
        ("maxBudgetUsd", -1.0),
        ("maxBudgetUsd", 1_000_001.0),
    ],
)
async def test_what_is_out_of_range_is_refused_and_changes_nothing(client: Client, field: str, value: object) -> None:
    # With an address of one's own any name is a model's.
    await update(client, **{**CHOSEN, "llmBaseUrl": None})
    before = await saved(client)
    answer = await update(client, **{"maxIterations": 9, field: value})
    assert answer["settings"] is None
    [error] = answer["userErrors"]
    assert (error["__typename"], error["code"], error["path"]) == ("InvalidInputError", "INVALID_INPUT", [field])
    assert await saved(client) == before


async def test_a_private_address_is_refused_where_callers_are_strangers(tmp_path: Path) -> None:
    with running_server(tmp_path, llm_private_base_urls=False) as server:
        async with Client(server) as client:
            for address in (
                "http://127.0.0.1:9/v1",
                "http://169.254.169.254/latest",
                "http://[::1]/",
                "http://10.0.0.1/",
            ):
                [error] = (await update(client, llmBaseUrl=address))["userErrors"]
                assert (error["__typename"], error["path"]) == ("InvalidInputError", ["llmBaseUrl"])
            assert await saved(client) is None


async def test_a_reset_forgets_the_settings_and_the_key(client: Client, stranger: Client) -> None:
    before = (await update(client, llmApiKey="sk-test-key-0123456789"))["settings"]
    await update(stranger)
    answer = await client.execute("mutation { resetSettings { deletedSettingsId } }")
    assert answer == {"resetSettings": {"deletedSettingsId": before["id"]}}
    assert await saved(client) is None
    assert await saved(stranger) is not None
    again = await client.execute("mutation { resetSettings { deletedSettingsId } }")
    assert again == {"resetSettings": {"deletedSettingsId": None}}
    after = (await update(client))["settings"]
    assert after["llmApiKeySet"] is False
    assert after["id"] != before["id"]


async def test_they_can_be_fetched_again_by_their_id(client: Client, stranger: Client) -> None:
    settings_id = (await steps.save_settings(client))["id"]
    document = "query ($id: ID!) { node(id: $id) { __typename id } }"
    assert (await client.execute(document, id=settings_id))["node"] == {"__typename": "Settings", "id": settings_id}
    assert (await stranger.execute(document, id=settings_id))["node"] is None
