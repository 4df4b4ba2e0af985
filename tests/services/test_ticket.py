"""Signed tickets."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from app.services.secrets.box import SecretBox
from app.services.ticket import TicketRefused, Tickets

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OLD, NEW = SecretStr("o" * 40), SecretStr("n" * 40)


def tickets(*keys: SecretStr, purpose: str = "download", now: datetime = NOW) -> Tickets:
    return Tickets(SecretBox(keys or (NEW,)), purpose, lambda: now)


def test_a_ticket_gives_its_claims_on_every_instance_with_the_secret() -> None:
    ticket = tickets().sign({"owner": "ada", "paths": ["é"]}, NOW + timedelta(minutes=5))
    assert tickets().verify(ticket) == {"owner": "ada", "paths": ["é"]}
    # Also where the key has been replaced meanwhile.
    assert tickets(OLD, NEW).verify(ticket) == {"owner": "ada", "paths": ["é"]}


def test_a_ticket_expires() -> None:
    ticket = tickets().sign({}, NOW + timedelta(minutes=5))
    assert tickets(now=NOW + timedelta(seconds=299)).verify(ticket) == {}
    with pytest.raises(TicketRefused, match="expired"):
        tickets(now=NOW + timedelta(seconds=300)).verify(ticket)


def test_a_ticket_of_another_key_or_purpose_or_with_other_claims_is_refused() -> None:
    ticket = tickets().sign({"owner": "ada"}, NOW + timedelta(minutes=5))
    other = tickets().sign({"owner": "eve"}, NOW + timedelta(minutes=5))
    mixed = f"{other.partition('.')[0]}.{ticket.partition('.')[2]}"
    for verifier, given in ((tickets(OLD), ticket), (tickets(purpose="upload"), ticket), (tickets(), mixed)):
        with pytest.raises(TicketRefused, match="not one of this server's"):
            verifier.verify(given)


@pytest.mark.parametrize("ticket", ["", ".", "e30", "e30.", ".e30", "!.!", "a.b.c", "é.é", "\ud800", "A" * 40_000])
def test_what_is_no_ticket_is_refused(ticket: str) -> None:
    with pytest.raises(TicketRefused):
        tickets().verify(ticket)
