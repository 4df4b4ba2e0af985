"""The git providers that this server knows."""

from collections.abc import Mapping

from app.config import Config
from app.models.provider_account import ProviderType
from app.services.git.base import GitProvider


def build_providers(config: Config) -> Mapping[ProviderType, GitProvider]:
    """One of each kind."""
    return {}
