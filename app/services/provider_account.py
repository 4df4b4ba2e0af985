"""Callers' tokens for git hosts: verified with the host before they are stored, and stored encrypted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from pydantic import SecretStr

from app.errors import GitProviderAuthentication, InvalidInput, NotFound
from app.models.database.database import Database
from app.models.owner import OwnerRepository
from app.models.provider_account import ProviderAccount, ProviderAccountRepository, ProviderType
from app.services.clock import Clock
from app.services.git.answer import check_text
from app.services.git.base import GitAccess, GitProvider
from app.services.secrets.box import SecretBox, SecretUnreadable

HOST_MAX_LENGTH = 260
LOGIN_MAX_LENGTH = 200
ROTATION_BATCH = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SetProviderToken:
    """A token for a provider's host; ``host`` is ``None`` for the public one."""

    provider: ProviderType
    token: SecretStr
    host: str | None = None


class ProviderAccountService:
    """Use cases of provider accounts; each acts for one owner."""

    def __init__(
        self, database: Database, providers: Mapping[ProviderType, GitProvider], secret_box: SecretBox, clock: Clock
    ) -> None:
        self._database = database
        self._providers = providers
        self._secret_box = secret_box
        self._clock = clock

    async def set_token(self, owner_id: str, command: SetProviderToken) -> ProviderAccount:
        """Verify the token with the provider, and store it, replacing an earlier one.

        Raises InvalidInput, GitProviderAuthentication or GitProviderUnavailable; then nothing was stored.
        """
        provider = self._providers[command.provider]
        token = SecretStr(command.token.get_secret_value().strip())
        if not token.get_secret_value():
            raise InvalidInput("The token is blank.", path=("token",))
        host = await _checked_host(provider, command.host)
        login = await provider.login(GitAccess(host, token))
        check_text(command.provider, login, LOGIN_MAX_LENGTH)
        now = self._clock()
        encrypted = self._secret_box.encrypt(token, context=_context(owner_id, command.provider))
        async with self._database.write() as session:
            await OwnerRepository(session).ensure(owner_id, now)
            await OwnerRepository(session).lock(owner_id)
            repository = ProviderAccountRepository(session)
            account = await repository.get(owner_id, command.provider, lock=True)
            if account is None:
                account = ProviderAccount(
                    owner_id=owner_id,
                    provider=command.provider,
                    login=login,
                    token_encrypted=encrypted,
                    created_at=now,
                    updated_at=now,
                )
                repository.add(account)
            account.host = host
            account.login = login
            account.token_encrypted = encrypted
            account.updated_at = now
        log.info("provider_account.token_set", provider=command.provider)
        return account

    async def remove_token(self, owner_id: str, provider: ProviderType) -> UUID:
        """Delete a token, and return the id of its account. Raises NotFound."""
        async with self._database.write() as session:
            repository = ProviderAccountRepository(session)
            account = await repository.get(owner_id, provider, lock=True)
            if account is None:
                raise NotFound("No token is stored for this provider.", path=("provider",))
            await repository.delete(account)
        log.info("provider_account.token_removed", provider=provider)
        return account.id

    async def search(self, owner_id: str) -> list[ProviderAccount]:
        """Return the owner's accounts, ordered by provider."""
        async with self._database.read() as session:
            return await ProviderAccountRepository(session).search(owner_id)

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[ProviderAccount | None]:
        """Return accounts in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        async with self._database.read() as session:
            return await ProviderAccountRepository(session).get_many(owner_id, ids)

    async def access(self, owner_id: str, provider: ProviderType) -> GitAccess:
        """Return the host and token of the owner's calls to a provider; without a token, anonymous at the public host.

        Raises GitProviderAuthentication if none of the server's keys decrypts the token.
        """
        async with self._database.read() as session:
            account = await ProviderAccountRepository(session).get(owner_id, provider)
        return self.access_of([account] if account is not None else [], provider)

    def access_of(self, accounts: Sequence[ProviderAccount], provider: ProviderType) -> GitAccess:
        """Like ``access``, if the owner's accounts were read already."""
        account = next((each for each in accounts if each.provider == provider), None)
        return GitAccess() if account is None else GitAccess(account.host, self._token(account))

    def tokens_of(self, accounts: Sequence[ProviderAccount]) -> list[SecretStr]:
        """The tokens, for hiding them; those that can't be decrypted are left out."""
        tokens: list[SecretStr] = []
        for account in accounts:
            try:
                tokens.append(self._token(account))
            except GitProviderAuthentication:
                continue
        return tokens

    async def rotate_secrets(self) -> tuple[int, int]:
        """Encrypt all tokens with the newest key; return how many were changed, and how many can't be decrypted."""
        rotated, unreadable, after = 0, 0, None
        while True:
            async with self._database.write() as session:
                batch = await ProviderAccountRepository(session).after(after, ROTATION_BATCH)
                for account in batch:
                    token, context = account.token_encrypted, _context(account.owner_id, account.provider)
                    try:
                        if self._secret_box.needs_rotation(token):
                            account.token_encrypted = self._secret_box.rotate(token, context=context)
                            rotated += 1
                    except SecretUnreadable as error:
                        unreadable += 1
                        log.warning("secrets.unreadable", provider_account_id=str(account.id), reason=str(error))
            if not batch:
                return rotated, unreadable
            after = batch[-1].id

    def _token(self, account: ProviderAccount) -> SecretStr:
        try:
            context = _context(account.owner_id, account.provider)
            return self._secret_box.decrypt(account.token_encrypted, context=context)
        except SecretUnreadable:
            message = "The stored token can't be decrypted with this server's secret key: store it again."
            raise GitProviderAuthentication(message, provider=account.provider) from None


def _context(owner_id: str, provider: str) -> str:
    return f"provider_account:{owner_id}:{provider}:token"


async def _checked_host(provider: GitProvider, host: str | None) -> str | None:
    """Normalise the host for storage, where ``None`` is the public one. Raises InvalidInput."""
    cleaned = (host or "").strip().lower()
    if not cleaned or cleaned == provider.host(GitAccess()):
        return None
    if len(cleaned) > HOST_MAX_LENGTH:
        raise InvalidInput(f"A host has at most {HOST_MAX_LENGTH} characters.", path=("host",))
    try:
        await provider.check_host(cleaned)
    except InvalidInput as error:
        raise InvalidInput(error.message, path=("host",)) from None
    return cleaned
