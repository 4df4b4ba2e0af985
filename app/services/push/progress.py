"""The position of a subscription in its source, by which subscriptions at the same position can share one execution."""


class Progress:
    """The position of a subscription in its source, shared between the source and the broadcast.

    ``position`` is that of the last item, ``None`` before the first one: a source that starts with a position skips its
    snapshot and replay, and continues after it. With ``ends_when_live`` a source ends once it has yielded all existing
    items, and sets ``is_live`` to tell that it ended for this reason.
    """

    def __init__(self, position: int | None = None, *, ends_when_live: bool = False) -> None:
        self.position = position
        self.ends_when_live = ends_when_live
        self.is_live = False

    def level(self, position: int | None) -> bool:
        """Report that all existing items, up to ``position``, were yielded. Returns whether the source has to end."""
        if self.ends_when_live:
            self.position, self.is_live = position, True
        return self.ends_when_live
