"""Settings that limit requests and callers: sizes, rates, document limits and timeouts."""

from pydantic import Field
from pydantic_settings import BaseSettings


class LimitSettings(BaseSettings):
    """The settings that ``docs/limits.md`` explains."""

    max_body_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Largest request body and WebSocket message; a trajectory of 50,000 small events has 12 MiB.",
    )
    max_connections: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Connections that may be open in all; at most half of the files that the system lets the process "
        "have.",
    )
    max_connections_per_address: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Connections that one address may have open; at most three quarters of those in all. "
        "`PARLEY_TRUSTED_PROXIES` may have any number.",
    )
    max_head_bytes: int = Field(
        default=64 * 1024, ge=4096, le=1024 * 1024, description="Largest address and headers of a request together."
    )
    max_headers: int = Field(default=100, ge=20, le=1000, description="Headers that a request may have.")
    head_timeout_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Longest wait for the address and the headers of a request."
    )
    body_timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="Longest wait for a whole body.")
    body_least_bytes_per_second: int = Field(
        default=1024, ge=0, le=1024 * 1024, description="A body that comes slower than this for 5 s is given up."
    )
    max_buffered_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        le=16 * 1024**3,
        description="Bodies that are held in all until they are complete; at least one of the largest. What is "
        "beyond is refused for a while.",
    )
    max_json_items: int = Field(
        default=100_000,
        ge=1000,
        le=1_000_000,
        description="Entries of lists and objects that the JSON of a request may have, those of a trajectory aside.",
    )
    max_trajectory_items: int = Field(
        default=1_000_000,
        ge=1000,
        le=10_000_000,
        description="Entries of lists and objects that a request with a trajectory may have; an event has 11 to 20.",
    )
    failed_token_rate_per_second: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Requests without a good token that an address may send each second over time.",
    )
    failed_token_burst: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Requests without a good token that an address may send at once after a pause.",
    )
    page_rate_per_second: int = Field(
        default=50,
        ge=1,
        le=1_000_000,
        description="Requests for pages and their assets that an address may send each second over time.",
    )
    page_burst: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Requests for pages and their assets that an address may send at once after a pause; a page has up "
        "to 30.",
    )
    request_timeout_seconds: float = Field(
        default=30.0, gt=0, le=600, description="Longest duration of a query or a mutation."
    )
    rate_limit_per_second: int | None = Field(
        default=100,
        ge=1,
        le=1_000_000,
        description="Requests that a caller may send each second over time, operations over a WebSocket included. "
        "Blank: any number.",
    )
    rate_limit_burst: int = Field(
        default=1000, ge=1, le=1_000_000, description="Requests that a caller may send at once after a pause."
    )
    max_connections_per_caller: int = Field(
        default=100, ge=1, le=100_000, description="WebSockets and streamed responses that a caller may have open."
    )
    max_subscriptions_per_caller: int = Field(
        default=1000, ge=1, le=1_000_000, description="Subscriptions that a caller may have, over all its connections."
    )
    max_transfers_per_caller: int = Field(
        default=4, ge=1, le=32, description="Downloads and uploads that a caller may have at once."
    )
    max_upload_bytes: int = Field(
        default=100 * 1024**2, ge=1024, le=1024**4, description="Largest file that may be uploaded to a workspace."
    )
    max_download_bytes: int = Field(
        default=10 * 1024**3,
        ge=1024**2,
        le=1024**5,
        description="Files of a workspace that one archive may hold together, before they are compressed.",
    )
    max_document_length: int = Field(
        default=200_000, ge=1000, le=2_000_000, description="Characters that a GraphQL document may have."
    )
    max_document_tokens: int = Field(
        default=2000, ge=100, le=20_000, description="Lexical tokens that a GraphQL document may have."
    )
    max_document_depth: int = Field(
        default=20, ge=5, le=50, description="Fields within each other that an operation may have."
    )
    max_document_aliases: int = Field(default=50, ge=0, le=1000, description="Aliases that an operation may have.")
    max_document_directives: int = Field(
        default=50, ge=0, le=1000, description="Directives that an operation may have."
    )
    max_document_root_fields: int = Field(
        default=20, ge=1, le=1000, description="Fields that an operation may have at its root."
    )
    max_document_cost: int = Field(
        default=25_000,
        ge=100,
        le=10_000_000,
        description="Values that an operation may ask for: each field once, times the lengths of the lists it is in.",
    )
    introspection: bool = Field(
        default=True,
        description="Whether the schema can be asked for. `false` also keeps suggestions out of error messages.",
    )
