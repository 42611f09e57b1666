"""The memory that a process takes at its peak."""

from threading import Event, Thread

import psutil

INTERVAL = 0.001  # seconds between two looks, less than one layer of a network takes


class PeakMemory:
    """A block (`with PeakMemory() as memory:`) whose memory is looked at every millisecond, on every system.

    Attributes:
        before: resident bytes of this process at the beginning of the block.
        peak: the most that were seen, final once the block has ended.
    """

    def __enter__(self) -> "PeakMemory":
        """Begin to look."""
        self._process, self._over = psutil.Process(), Event()
        self.before = self.peak = self._process.memory_info().rss
        self._watcher = Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look once more."""
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        """Look until the block ends and once after it."""
        over = False
        while not over:
            over = self._over.wait(INTERVAL)
            self.peak = max(self.peak, self._process.memory_info().rss)
