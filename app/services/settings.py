"""Use cases of a caller's settings: validation, storage with the API key encrypted, and the model to call."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TypeVar
from uuid import UUID

import structlog
from pydantic import SecretStr

from app.errors import InvalidInput, LLMAuthentication, SettingsNotFound
from app.models.database.database import Database
from app.models.owner import OwnerRepository
from app.models.run_reads import RunReads
from app.models.settings import DEFAULT_MAX_ITERATIONS, PublishPolicy, Settings, SettingsRepository
from app.services.clock import Clock
from app.services.llm.base import LLM, Model
from app.services.outbound import check_base_url
from app.services.provider_account import ProviderAccountService
from app.services.secrets.box import SecretBox, SecretUnreadable

DEFAULT_LLM_MODEL = "demo/assistant"
MAX_ITERATIONS_LIMIT = 1000
MAX_BUDGET_LIMIT_USD = 1_000_000.0
MODEL_MAX_LENGTH = 200
AUTHOR_NAME_MAX_LENGTH = 200
AUTHOR_EMAIL_MAX_LENGTH = 254
ROTATION_BATCH = 100
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Unset(Enum):
    """A marker for an omitted field, as opposed to a null one."""

    UNSET = "UNSET"


UNSET = Unset.UNSET


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """A change of settings: omitted fields (``UNSET``) stay unchanged, null ones are reset to the default."""

    llm_model: str | Unset | None = UNSET
    llm_base_url: str | Unset | None = UNSET
    llm_api_key: SecretStr | Unset | None = UNSET
    max_iterations: int | Unset | None = UNSET
    max_budget_usd: float | Unset | None = UNSET
    confirmation_mode: bool | Unset | None = UNSET
    git_author_name: str | Unset | None = UNSET
    git_author_email: str | Unset | None = UNSET
    publish_policy: PublishPolicy | Unset | None = UNSET


class SettingsService:
    """Use cases of settings; each acts for one owner."""

    def __init__(
        self,
        database: Database,
        llm: LLM,
        secret_box: SecretBox,
        clock: Clock,
        *,
        accounts: ProviderAccountService,
        private_base_urls: bool,
    ) -> None:
        self._database = database
        self._llm = llm
        self._secret_box = secret_box
        self._clock = clock
        self._accounts = accounts
        self._private_base_urls = private_base_urls

    async def get(self, owner_id: str) -> Settings | None:
        """Return the owner's settings; ``None`` until they are saved.

        It also warms up the LLM library, since a client that reads settings will probably start a conversation soon.
        """
        settings = await self._saved(owner_id)
        if settings is not None:
            self._llm.warm_up(settings.llm_model)
        return settings

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[Settings | None]:
        """Return settings in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        async with self._database.read() as session:
            return await SettingsRepository(session).get_many(owner_id, list(ids))

    async def update(self, owner_id: str, change: UpdateSettings) -> Settings:
        """Save the given fields, with defaults for the others if there were no settings yet.

        Raises InvalidInput; then nothing is saved.
        """
        now = self._clock()
        change = _checked(change)
        before = await self._saved(owner_id)
        await self._check_llm(change, before)
        async with self._database.write() as session:
            await OwnerRepository(session).ensure(owner_id, now)
            repository = SettingsRepository(session)
            settings = await repository.get(owner_id, lock=True)
            if settings is None:
                settings = _defaults(owner_id, now)
                repository.add(settings)
            self._apply(settings, change)
            settings.updated_at = now
        return settings

    async def reset(self, owner_id: str) -> UUID | None:
        """Delete the settings with their API key, and return their id; ``None`` if there were none."""
        async with self._database.write() as session:
            repository = SettingsRepository(session)
            settings = await repository.get(owner_id, lock=True)
            if settings is None:
                return None
            await repository.delete(settings)
        return settings.id

    async def model(self, owner_id: str) -> tuple[Settings, Model]:
        """Return the owner's settings and the model to call.

        Raises SettingsNotFound, or LLMAuthentication if the model's provider needs an API key and there is none.
        """
        return await self.model_of(await self.get(owner_id))

    async def model_of(self, settings: Settings | None) -> tuple[Settings, Model]:
        """Return what ``model`` returns, for settings that were read already."""
        if settings is None:
            message = "No settings are saved yet: save an LLM model first."
            raise SettingsNotFound(message)
        model = Model(settings.llm_model, self._api_key(settings), settings.llm_base_url)
        is_blank = model.api_key is None or not model.api_key.get_secret_value().strip()
        if is_blank and await self._llm.requires_api_key(model.name, model.base_url):
            message = f"The provider of {model.name} needs an API key, and none is saved."
            raise LLMAuthentication(message, llm_model=model.name)
        return settings, model

    async def secrets(self, owner_id: str) -> list[SecretStr]:
        """Decrypt the owner's API key and tokens, for redaction. Those that no key decrypts are left out."""
        return (await self.with_secrets(owner_id))[1]

    async def with_secrets(self, owner_id: str) -> tuple[Settings | None, list[SecretStr]]:
        """Return the owner's settings and secrets, as ``get`` and ``secrets`` do."""
        settings, accounts = await RunReads(self._database).settings_and_accounts(owner_id)
        tokens = self._accounts.tokens_of(accounts)
        if settings is None:
            return None, tokens
        self._llm.warm_up(settings.llm_model)
        try:
            api_key = self._api_key(settings)
        except LLMAuthentication:
            return settings, tokens
        return settings, [api_key, *tokens] if api_key else tokens

    async def rotate_secrets(self) -> tuple[int, int]:
        """Encrypt all stored API keys and tokens with the newest key of the secret box.

        Returns how many were changed, and how many were left unchanged since no key decrypts them.
        """
        rotated, unreadable = await self._accounts.rotate_secrets()
        after = None
        while True:
            async with self._database.write() as session:
                batch = await SettingsRepository(session).with_api_key(after, ROTATION_BATCH)
                for settings in batch:
                    token, context = settings.llm_api_key_encrypted, _context(settings.owner_id)
                    try:
                        if token is not None and self._secret_box.needs_rotation(token):
                            settings.llm_api_key_encrypted = self._secret_box.rotate(token, context=context)
                            rotated += 1
                    except SecretUnreadable as error:
                        unreadable += 1
                        log.warning("secrets.unreadable", settings_id=str(settings.id), reason=str(error))
            if not batch:
                return rotated, unreadable
            after = batch[-1].id

    async def _saved(self, owner_id: str) -> Settings | None:
        return await RunReads(self._database).settings(owner_id)

    def _api_key(self, settings: Settings) -> SecretStr | None:
        if settings.llm_api_key_encrypted is None:
            return None
        try:
            return self._secret_box.decrypt(settings.llm_api_key_encrypted, context=_context(settings.owner_id))
        except SecretUnreadable:
            message = "The saved API key can't be decrypted with this server's secret key: save it again."
            raise LLMAuthentication(message, llm_model=settings.llm_model) from None

    async def _check_llm(self, change: UpdateSettings, before: Settings | None) -> None:
        saved_model = before.llm_model if before else DEFAULT_LLM_MODEL
        saved_url = before.llm_base_url if before else None
        name = _given(change.llm_model, saved_model, DEFAULT_LLM_MODEL)
        base_url = _given(change.llm_base_url, saved_url, None)
        self._llm.warm_up(name)
        if isinstance(change.llm_base_url, str):
            try:
                await check_base_url(change.llm_base_url, private_allowed=self._private_base_urls)
            except InvalidInput as error:
                raise InvalidInput(error.message, path=("llmBaseUrl",)) from None
        if change.llm_model is not UNSET or change.llm_base_url is not UNSET:
            try:
                await self._llm.validate(name, base_url)
            except InvalidInput as error:
                raise InvalidInput(error.message, path=("llmModel",)) from None

    def _apply(self, settings: Settings, change: UpdateSettings) -> None:
        settings.llm_model = _given(change.llm_model, settings.llm_model, DEFAULT_LLM_MODEL)
        settings.llm_base_url = _given(change.llm_base_url, settings.llm_base_url, None)
        settings.max_iterations = _given(change.max_iterations, settings.max_iterations, DEFAULT_MAX_ITERATIONS)
        settings.max_budget_usd = _given(change.max_budget_usd, settings.max_budget_usd, None)
        settings.confirmation_mode = _given(change.confirmation_mode, settings.confirmation_mode, default=False)
        settings.git_author_name = _given(change.git_author_name, settings.git_author_name, None)
        settings.git_author_email = _given(change.git_author_email, settings.git_author_email, None)
        settings.publish_policy = _given(change.publish_policy, settings.publish_policy, PublishPolicy.ALWAYS_ASK)
        if isinstance(change.llm_api_key, SecretStr):
            context = _context(settings.owner_id)
            settings.llm_api_key_encrypted = self._secret_box.encrypt(change.llm_api_key, context=context)
        elif change.llm_api_key is None:
            settings.llm_api_key_encrypted = None


def _context(owner_id: str) -> str:
    return f"settings:{owner_id}:llm_api_key"


def _given(value: T | Unset | None, saved: T, default: T) -> T:
    if isinstance(value, Unset):
        return saved
    return default if value is None else value


def _defaults(owner_id: str, now: datetime) -> Settings:
    return Settings(owner_id=owner_id, llm_model=DEFAULT_LLM_MODEL, created_at=now, updated_at=now)


def _checked(change: UpdateSettings) -> UpdateSettings:
    """Validate a change; a blank API key becomes ``None``. Raises InvalidInput."""
    model = change.llm_model
    if isinstance(model, str):
        model = model.strip()
        if not model or len(model) > MODEL_MAX_LENGTH or not model.isprintable():
            message = f"A model's name has 1 to {MODEL_MAX_LENGTH} printable characters."
            raise InvalidInput(message, path=("llmModel",))
    api_key = change.llm_api_key
    if isinstance(api_key, SecretStr):
        stripped = api_key.get_secret_value().strip()
        api_key = SecretStr(stripped) if stripped else None
    iterations = change.max_iterations
    if isinstance(iterations, int) and not 1 <= iterations <= MAX_ITERATIONS_LIMIT:
        message = f"maxIterations is between 1 and {MAX_ITERATIONS_LIMIT}."
        raise InvalidInput(message, path=("maxIterations",))
    budget = change.max_budget_usd
    if isinstance(budget, int | float) and not (math.isfinite(budget) and 0 < budget <= MAX_BUDGET_LIMIT_USD):
        message = f"maxBudgetUsd is more than 0 and at most {MAX_BUDGET_LIMIT_USD:.0f}."
        raise InvalidInput(message, path=("maxBudgetUsd",))
    name = _author_part(change.git_author_name, "gitAuthorName", AUTHOR_NAME_MAX_LENGTH)
    email = _author_part(change.git_author_email, "gitAuthorEmail", AUTHOR_EMAIL_MAX_LENGTH)
    if isinstance(email, str) and not _EMAIL.fullmatch(email):
        raise InvalidInput("An e-mail address is name@host, without spaces.", path=("gitAuthorEmail",))
    return replace(change, llm_model=model, llm_api_key=api_key, git_author_name=name, git_author_email=email)


def _author_part(value: str | Unset | None, field: str, max_length: int) -> str | Unset | None:
    """Validate a part of a commit's author; a blank one becomes ``None``. Raises InvalidInput."""
    if not isinstance(value, str):
        return value
    stripped = value.strip()
    # Git leaves angle brackets out, and nothing else at the end of a name.
    if len(stripped) > max_length or not stripped.isprintable() or "<" in stripped or ">" in stripped:
        message = f"`{field}` has at most {max_length} printable characters, and no angle brackets."
        raise InvalidInput(message, path=(field,))
    if stripped and not any(character.isalnum() for character in stripped):
        raise InvalidInput(f"`{field}` has a letter or a digit.", path=(field,))
    return stripped or None
