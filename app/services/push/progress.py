"""How far a subscription has come, which is what lets many that are equally far go on as one."""


class Progress:
    """A subscription's place in the source that it follows.

    ``position`` is that of the last thing that was given out, ``None`` before the first one: a source that begins with
    a position leaves out its snapshot and its replay, and goes on behind it. With ``ends_when_live`` a source ends as
    soon as it has given out all that there is, and ``is_live`` tells that it ended for that reason alone.
    """

    def __init__(self, position: int | None = None, *, ends_when_live: bool = False) -> None:
        self.position = position
        self.ends_when_live = ends_when_live
        self.is_live = False

    def level(self, position: int | None) -> bool:
        """Called by a source that has given out all there is, up to there. Tells whether it has to end."""
        if self.ends_when_live:
            self.position, self.is_live = position, True
        return self.ends_when_live
