"""Signed tickets, which authorize requests by URL without a header and without a row in the database.

A ticket is ``<claims>.<signature>`` in URL-safe base64. The claims are JSON and not encrypted. Every instance that has
the server's secret key accepts it until it expires.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from app.services.clock import Clock
from app.services.secrets.box import SecretBox

MAX_TICKET_CHARACTERS = 32 * 1024
_EXPIRY = "expires"


class TicketRefused(Exception):
    """The ticket is malformed, altered, of another purpose, expired or used. The message is for the client."""


class Tickets:
    """Signs and verifies tickets of one purpose, such as ``download``."""

    def __init__(self, box: SecretBox, purpose: str, clock: Clock) -> None:
        self._box = box
        self._purpose = f"ticket:{purpose}"
        self._clock = clock

    def sign(self, claims: Mapping[str, object], expires_at: datetime) -> str:
        """Make a ticket, which is valid until ``expires_at``. ``claims`` are JSON."""
        message = orjson.dumps({**claims, _EXPIRY: expires_at.timestamp()})
        return f"{_encode(message)}.{_encode(self._box.sign(message, purpose=self._purpose))}"

    def verify(self, ticket: str) -> Mapping[str, Any]:
        """Return the claims. Raises TicketRefused."""
        if len(ticket) > MAX_TICKET_CHARACTERS:
            raise TicketRefused("The ticket is not one of this server's.")
        claims_text, _, signature_text = ticket.partition(".")
        message, signature = _decode(claims_text), _decode(signature_text)
        if not self._box.is_signed(message, signature, purpose=self._purpose):
            raise TicketRefused("The ticket is not one of this server's.")
        claims = cast("dict[str, Any]", orjson.loads(message))
        if datetime.fromtimestamp(claims.pop(_EXPIRY), UTC) <= self._clock():
            raise TicketRefused("The ticket has expired: ask for another one.")
        return claims


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TicketRefused("The ticket is not one of this server's.") from None
