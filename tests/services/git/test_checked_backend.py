"""Where the requests to git hosts go: to an address that was checked, and to no private one."""

import asyncio
from ipaddress import IPv4Address, IPv6Address

import pytest
from pydantic import SecretStr

from app.config import load_config
from app.errors import GitProviderUnavailable, InvalidInput
from app.models.provider_account import ProviderType
from app.services.git.base import GitAccess
from app.services.git.providers import providers


@pytest.mark.parametrize("kind", [ProviderType.GITHUB, ProviderType.GITLAB])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost:8443", "169.254.169.254", "10.0.0.1", "0x7f000001"])
async def test_a_private_host_is_refused_and_never_called(kind: ProviderType, name: str) -> None:
    provider = providers(load_config(env_file=None))[kind]
    with pytest.raises(InvalidInput):
        await provider.check_host(name)
    with pytest.raises(InvalidInput):
        await provider.login(GitAccess(name, SecretStr("good")))
    await provider.close()


async def test_a_name_that_turns_private_after_its_check_is_not_called() -> None:
    answers = [True, False]

    async def resolve(host: str, port: int) -> list[IPv4Address | IPv6Address]:
        if not answers.pop(0):
            message = "The address is private."
            raise InvalidInput(message)
        return [IPv4Address("192.0.2.1")]

    provider = providers(load_config(env_file=None), resolve=resolve)[ProviderType.GITLAB]
    await provider.check_host("git.example.com")
    with pytest.raises(InvalidInput):
        await provider.login(GitAccess("git.example.com", SecretStr("good")))
    assert answers == []
    await provider.close()


async def test_the_checked_address_is_called_and_tls_asks_for_the_name() -> None:
    hellos: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(4000))
        writer.close()

    async def resolve(name: str, number: int) -> list[IPv4Address | IPv6Address]:
        assert (name, number) == ("git.invalid", port)
        return [IPv4Address("127.0.0.1")]

    async def no_sleep(_: float) -> None:
        """Go on at once."""

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = providers(load_config(env_file=None), resolve=resolve, sleep=no_sleep)[ProviderType.GITLAB]
    with pytest.raises(GitProviderUnavailable):
        await provider.login(GitAccess(f"git.invalid:{port}", SecretStr("good")))
    assert len(hellos) == 3
    # 0x16 begins a TLS handshake; nothing, the token least of all, was sent in the clear.
    assert all(hello[0] == 0x16 and b"git.invalid" in hello and b"good" not in hello for hello in hellos)
    await provider.close()
    server.close()
    await server.wait_closed()


async def test_a_host_that_never_answers_is_given_up() -> None:
    calls = 0
    done = asyncio.Event()

    async def keep_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await done.wait()
        writer.close()

    async def no_sleep(_: float) -> None:
        """Go on at once."""

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = load_config(env_file=None, git_private_hosts=f"http://{host}", git_timeout_seconds=0.2)
    provider = providers(config, sleep=no_sleep)[ProviderType.GITHUB]
    with pytest.raises(GitProviderUnavailable, match="in time"):
        await provider.login(GitAccess(host, SecretStr("good")))
    assert calls == 3
    done.set()
    await provider.close()
    server.close()
    await server.wait_closed()
