"""An agent that goes round in circles is paused."""

from typing import Any

from tests.support import steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools

JSON = dict[str, Any]


async def test_the_same_call_with_the_same_result_four_times_pauses(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: tools(Call("absent", '{"n": 1}'))
    conversation = await steps.create(client, "Go round")
    paused = await steps.until(client, conversation["id"], agentState="PAUSED")
    assert (paused["status"], paused["statusReason"]["code"]) == ("RUNNING", "AGENT_STUCK")
    assert paused["statusReason"]["message"] == (
        "The agent called absent 4 times with the same arguments and got the same result each time."
    )
    assert len(llm.requests) == 4


async def test_the_next_message_goes_on_and_counts_anew(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: tools(Call("absent", "{}"))
    conversation = await steps.create(client, "Go round")
    await steps.until(client, conversation["id"], agentState="PAUSED")
    llm.script(tools(Call("absent", "{}")), text("Out of it"))
    await steps.send(client, conversation["id"], "Try again")
    found = await steps.until_waiting(client, conversation["id"])
    assert found["statusReason"] is None
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Out of it")


async def test_other_arguments_in_between_are_progress(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    calls = [Call("absent", f'{{"n": {number}}}') for number in (1, 1, 1, 2, 1, 1, 1)]
    llm.script(*(tools(call) for call in calls), text("Done"))
    conversation = await steps.create(client, "Work")
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Done")
