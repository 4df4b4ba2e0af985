"""The `Problem` type: an error that is part of an object's state, such as a conversation's, not of a request."""

import strawberry

from app.errors import ErrorCode
from app.models import conversation as models


@strawberry.type(description="Why something failed, as state (not as a request error).")
class Problem:
    code: ErrorCode = strawberry.field(description="Machine-readable reason.")
    message_id: str = strawberry.field(description="Original i18n id, e.g. `STATUS$ERROR_LLM_AUTHENTICATION`.")
    message: str = strawberry.field(description="For people; may change.")

    @classmethod
    def of(cls, problem: models.Problem) -> "Problem":
        """Convert from the model's type."""
        return cls(code=problem.code, message_id=problem.code.message_id, message=problem.message)

    @classmethod
    def of_names(cls, code: str | None, message: str | None) -> "Problem | None":
        """Build from a row's columns; a code that only a newer release knows becomes an internal LLM error."""
        if code is None:
            return None
        known = ErrorCode.__members__.get(code, ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR)
        return cls(code=known, message_id=known.message_id, message=message or "")
