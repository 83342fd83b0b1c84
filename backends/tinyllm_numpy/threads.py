"""Two ways to use the cores: threads inside BLAS, or workers that each call BLAS on one thread.

A product of a matrix with a vector goes to BLAS's threads, which wait for it, spinning, and start
at once. All else goes to workers that each do whole steps of their share: the elementwise work then
runs on all cores, too. The two must not mix, for threads that spin take the cores from workers, so
BLAS is kept to one thread wherever workers may follow.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

_busy = threading.Lock()


def parallel_map(f: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
    """Return [f(item) for each item], computed by as many workers as BLAS has threads.

    Items start in their order. Calls from within `f`, or from a second thread, run one item after
    another. The items say how the work is split, so results do not depend on the number of workers.
    An error ends the map at once, also where other items are still at work.
    """
    with one_blas_thread:
        if len(items) < 2 or _workers() < 2 or not _busy.acquire(blocking=False):
            return [f(item) for item in items]
        results: list[Any] = [None] * len(items)
        todo = iter(range(len(items)))

        def work() -> None:
            try:
                for index in todo:
                    results[index] = f(items[index])
            except BaseException:
                for _ in todo:  # leave nothing to the others
                    pass
                raise

        try:
            others = [_pool().submit(work) for _ in range(min(_workers(), len(items)) - 1)]
            work()  # this thread is a worker, too
            for other in others:
                other.result()
        finally:
            _busy.release()
        return results


class _OneBlasThread:
    """Keeps BLAS to one thread within a `with`, for the whole process; such blocks may nest."""

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1 and _workers() > 1:
                for library in _blas():
                    library.set_num_threads(1)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and _workers() > 1:
                for library in _blas():
                    library.set_num_threads(_workers())


one_blas_thread = _OneBlasThread()


@cache
def _blas() -> list[Any]:
    # Slow to import and to look for libraries, so only when it is needed.
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@cache
def _workers() -> int:
    return max((library.get_num_threads() for library in _blas()), default=1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_workers(), thread_name_prefix="tinyllm")
