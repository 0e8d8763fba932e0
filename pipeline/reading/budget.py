"""A budget of memory that the threads of a worker process share."""

from __future__ import annotations

import threading


class Budget:
    """A number of bytes that threads share.

    Args:
        size: how many there are.
    """

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Waits until there is room. Something larger than the whole budget gets it when nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(count))
            self._taken += count

    def try_take(self, count: int) -> bool:
        """`take`, if there is room now. Returns whether there was."""
        with self._changed:
            has_room = self._has(count)
            self._taken += count if has_room else 0
        return has_room

    def give(self, count: int) -> None:
        """Returns bytes to the budget."""
        with self._changed:
            self._taken -= count
            self._changed.notify_all()

    def _has(self, count: int) -> bool:
        return not self._taken or self._taken + count <= self._size
