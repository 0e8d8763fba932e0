"""Memory budget shared by the threads of a worker process."""

from __future__ import annotations

import threading


class Budget:
    """A number of bytes shared by several threads.

    Args:
        size: size of the budget in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Take bytes, waiting until there is room. A request larger than the budget waits until nothing is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(count))
            self._taken += count

    def try_take(self, count: int) -> bool:
        """Take bytes if they are available now. Returns whether they were taken."""
        with self._changed:
            has_room = self._has(count)
            self._taken += count if has_room else 0
        return has_room

    def give(self, count: int) -> None:
        """Return bytes to the budget."""
        with self._changed:
            self._taken -= count
            self._changed.notify_all()

    def _has(self, count: int) -> bool:
        return not self._taken or self._taken + count <= self._size
