"""Stores a streaming answer as a draft, and recovers it as a partial message after a crash of the server."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import Conversation
from app.models.database.database import is_outage
from app.models.draft import Draft, DraftRepository
from app.models.event import EventSource, MessageBody, NewEvent, Usage
from app.services.agent.run_log import RunLog, append_with_usage

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 1.0
"""Seconds of an answer that may be lost in a crash. An answer that takes less time is never stored as a draft."""


class AnswerDraft:
    """Stores the published text of one answer, with at most one statement a second."""

    def __init__(self, run_log: RunLog, usage_of: Callable[[str], Usage]) -> None:
        self._run_log = run_log
        self._usage_of = usage_of
        self._saved: list[str] = []
        self._waiting: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None
        self._is_over = False

    def add(self, piece: str) -> None:
        """Add published text, which has no secrets."""
        self._waiting.append(piece)
        self._schedule()

    async def end(self) -> None:
        """Stop storing, and wait for a write in progress."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._saving is not None:
            # The answer's transaction deletes the draft, so no write of it may follow.
            await asyncio.shield(self._saving)

    def _schedule(self) -> None:
        if self._timer is None and self._waiting and not self._is_over:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._begin)

    def _begin(self) -> None:
        self._saving = asyncio.create_task(self._save(), name="draft")

    async def _save(self) -> None:
        pieces, self._waiting = self._waiting, []
        text = "".join(pieces)
        try:
            used = self._usage_of("".join((*self._saved, text)))
            await self._run_log.keep_draft(len(self._saved), text, used)
            self._saved.append(text)
        except Exception as error:  # An answer is worth more than its draft.
            self._waiting[:0] = pieces
            if not is_outage(error):
                self._is_over = True
                log.exception("draft.not_kept", conversation_id=str(self._run_log.conversation_id))
        self._timer = None
        self._schedule()


async def recover(session: AsyncSession, conversation: Conversation, now: datetime) -> bool:
    """Append the drafts of dead attempts to a locked conversation's log, as partial messages.

    Returns whether there were any.
    """
    repository, is_some = DraftRepository(session), False
    drafts = await repository.of(conversation.id)
    for (run, attempt), pieces in groupby(drafts, key=lambda draft: (draft.run, draft.attempt)):
        if (run, attempt) == (conversation.active_run, conversation.run_attempts):
            continue
        event = _event(list(pieces))
        if event is not None:
            append_with_usage(session, conversation, run, [event], now)
        await repository.discard(conversation.id, run, attempt)
        is_some = True
    return is_some


def _event(pieces: Sequence[Draft]) -> NewEvent | None:
    text, last = "".join(piece.text for piece in pieces), pieces[-1]
    if not text.strip():
        return None
    used = Usage(last.llm_model, last.prompt_tokens, last.completion_tokens, last.cost_usd)
    return NewEvent(EventSource.AGENT, MessageBody(text, is_partial=True), used)
