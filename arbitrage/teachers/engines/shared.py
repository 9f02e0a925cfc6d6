"""Loaded models that several teachers of one process share: LoRA adapters of one base, steps of one teacher."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class _Shared:
    """A loaded model and the number of its users."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    is_loaded: bool = False
    num_users: int = 0


_SHARED: dict[str, _Shared] = {}
_GUARD = threading.Lock()


class Loan(Generic[T]):
    """One user's hold on a loaded model."""

    def __init__(self, key: str, shared: _Shared) -> None:
        self._key, self._shared, self._is_held = key, shared, True

    @property
    def value(self) -> T:
        """The loaded model."""
        found: T = self._shared.value
        return found

    def spoil(self) -> None:
        """Say that the model does not work any more: who borrows it next loads it anew."""
        with _GUARD:
            if _SHARED.get(self._key) is self._shared:
                del _SHARED[self._key]

    def give_back(self) -> bool:
        """End the hold; return whether it was the last one, so that the model is to be released."""
        with _GUARD:
            if not self._is_held:
                return False
            self._is_held = False
            self._shared.num_users -= 1
            if self._shared.num_users:
                return False
            if _SHARED.get(self._key) is self._shared:
                del _SHARED[self._key]
            self._shared.value = None  # loans outlive their use: a model of gigabytes must not
            return True


def borrow(key: str, load: Callable[[], T]) -> Loan[T]:
    """Return a hold on the model with this key; it is loaded unless this process has it.

    Args:
        key: identity of what is loaded.
        load: loads it. If it fails, the error is raised, and the next one who borrows tries again.
    """
    with _GUARD:
        shared = _SHARED.setdefault(key, _Shared())
        shared.num_users += 1
    loan: Loan[T] = Loan(key, shared)
    with shared.lock:
        if not shared.is_loaded:
            try:
                shared.value = load()
            except BaseException:
                loan.give_back()
                raise
            shared.is_loaded = True
    return loan
