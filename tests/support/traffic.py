"""What a page fetches, as the browser's own protocol reports it."""


class Traffic:
    """Counts a page's requests that went over the network, and their bytes as they were sent, headers included."""

    def __init__(self, session):
        """Count from now on; `session` is Playwright's CDPSession of a page."""
        self._sizes: dict[str, int] = {}
        session.on("Network.loadingFinished", self._note)
        session.send("Network.enable")

    @property
    def fetched(self) -> int:
        """How many requests went over the network; the others the browser's cache answered."""
        return sum(size > 0 for size in self._sizes.values())

    @property
    def bytes(self) -> int:
        """How many bytes came."""
        return sum(self._sizes.values())

    def _note(self, event: dict) -> None:
        self._sizes[event["requestId"]] = int(event["encodedDataLength"])
