"""Sums of floats depend on how threads share them; a router must be the same bytes wherever it is trained."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the linear algebra within to one thread. Ray gives tasks one anyway, a laptop all it has."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
