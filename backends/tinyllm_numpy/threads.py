"""Two ways to use the cores: threads inside BLAS, or workers that each call BLAS on one thread.

BLAS splits one product well where it is large. Many small ones, or a product between elementwise
steps, go faster when each worker does all the steps of its share.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

_busy = threading.Lock()


def parallel_map(f: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
    """Return [f(item) for each item], computed by as many workers as BLAS has threads.

    Calls from within `f`, or from a second thread, run one item after another. The items say how
    the work is split, so results do not depend on the number of workers.
    """
    if len(items) < 2 or _workers() < 2 or not _busy.acquire(blocking=False):
        return [f(item) for item in items]
    try:
        with _blas().limit(limits=1):
            return list(_pool().map(f, items))
    finally:
        _busy.release()


@cache
def _blas() -> Any:
    # Slow to import and to look for libraries, so only when it is needed.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@cache
def _workers() -> int:
    return max((library["num_threads"] for library in _blas().info()), default=1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_workers(), thread_name_prefix="tinyllm")
