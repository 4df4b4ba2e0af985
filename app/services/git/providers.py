"""Builds the git providers' clients from the configuration."""

import asyncio
from collections.abc import Mapping

from app.config import Config
from app.models.provider_account import ProviderType
from app.services.clock import Clock, utc_now
from app.services.git.base import GitProvider
from app.services.git.bitbucket import Bitbucket
from app.services.git.checked_backend import Resolve
from app.services.git.client import GitHTTPClient, Sleep
from app.services.git.github import GitHub
from app.services.git.gitlab import GitLab
from app.services.git.hosts import Hosts, private_ports
from app.services.outbound import public_addresses


def providers(
    config: Config, *, resolve: Resolve = public_addresses, clock: Clock = utc_now, sleep: Sleep = asyncio.sleep
) -> Mapping[ProviderType, GitProvider]:
    """Build one provider of each type, without connecting. The caller has to close them."""
    private = config.git_private_hosts

    def client(provider_type: ProviderType) -> GitHTTPClient:
        return GitHTTPClient(
            provider_type,
            private=private_ports(private),
            timeout_seconds=config.git_timeout_seconds,
            resolve=resolve,
            clock=clock,
            sleep=sleep,
        )

    return {
        ProviderType.GITHUB: GitHub(
            ProviderType.GITHUB,
            client(ProviderType.GITHUB),
            Hosts("github.com", private, resolve),
            public_api="https://api.github.com",
            api_path="/api/v3",
        ),
        ProviderType.GITLAB: GitLab(
            ProviderType.GITLAB,
            client(ProviderType.GITLAB),
            Hosts("gitlab.com", private, resolve),
            public_api="https://gitlab.com/api/v4",
            api_path="/api/v4",
        ),
        ProviderType.BITBUCKET: Bitbucket(
            ProviderType.BITBUCKET,
            client(ProviderType.BITBUCKET),
            Hosts("bitbucket.org", private, resolve, only_public=True),
            public_api="https://api.bitbucket.org/2.0",
            api_path="/2.0",
        ),
    }
