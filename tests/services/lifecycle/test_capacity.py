"""How many conversations run at once, and which one makes room."""

import asyncio

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Gate, ScriptedLLM, hold

LIVE = "{ conversations(filter: {status: [STARTING, RUNNING]}) { totalCount } }"
ALL = "{ conversations { totalCount } }"


async def test_the_conversation_that_waited_longest_makes_room(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    ids: list[str] = []
    for _ in range(3):
        ids.append((await steps.create(client))["id"])
        await steps.until_waiting(client, ids[-1])
    await steps.send(client, ids[0], "Awake")
    await steps.until_waiting(client, ids[0])
    await steps.create(client)
    stopped = await steps.get(client, ids[1])
    assert (stopped["status"], stopped["statusReason"]["code"]) == ("STOPPED", "MADE_ROOM")
    assert [(await steps.get(client, found))["status"] for found in (ids[0], ids[2])] == ["RUNNING", "RUNNING"]


async def test_one_in_the_middle_of_work_is_never_stopped(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    gates = [Gate() for _ in range(3)]
    busy: list[str] = []
    for gate in gates:
        llm.script(hold(gate, "busy", after=["!"]))
        busy.append((await steps.create(client, "Work"))["id"])
        await gate.reached()
    payload = (await client.execute(documents.CREATE, input={"title": "T"}))["createConversation"]
    assert [error["__typename"] for error in payload["userErrors"]] == ["TooManyRunningError"]
    assert (await client.execute(ALL))["conversations"]["totalCount"] == 3
    for gate in gates:
        gate.release()
    for conversation_id in busy:
        await steps.until_waiting(client, conversation_id)


async def test_creating_many_at_once_never_exceeds_the_limit(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)

    async def create() -> bool:
        payload = (await client.execute(documents.CREATE, input={"title": "T"}))["createConversation"]
        live = (await client.execute(LIVE))["conversations"]["totalCount"]
        assert live <= 3
        return not payload["userErrors"]

    made = await asyncio.gather(*(create() for _ in range(8)))
    assert (await client.execute(ALL))["conversations"]["totalCount"] == sum(made)
    assert sum(made) >= 3
