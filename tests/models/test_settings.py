"""How far a caller lets the agent publish, as it is stored."""

from datetime import UTC, datetime

import pytest

from app.models.settings import PublishPolicy, Settings, publish_policy

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stored", "policy"),
    [
        ("ALWAYS_ASK", PublishPolicy.ALWAYS_ASK),
        ("ALLOW_COMMITS", PublishPolicy.ALLOW_COMMITS),
        ("ALLOW_PULL_REQUESTS", PublishPolicy.ALLOW_PULL_REQUESTS),
        # Of a newer release, or of nobody.
        ("ALLOW_MERGES", PublishPolicy.ALWAYS_ASK),
        ("", PublishPolicy.ALWAYS_ASK),
    ],
)
def test_a_policy_that_this_release_does_not_know_allows_nothing(stored: str, policy: PublishPolicy) -> None:
    settings = Settings(
        owner_id="ada", llm_model="demo/assistant", publish_policy=stored, created_at=NOW, updated_at=NOW
    )
    assert publish_policy(settings) is policy


def test_without_settings_the_agent_asks() -> None:
    assert publish_policy(None) is PublishPolicy.ALWAYS_ASK
