"""tinyllm_numpy.threads"""

import threading

import pytest

from tinyllm_numpy import threads


@pytest.fixture(autouse=True)
def two_workers(monkeypatch):
    monkeypatch.setattr(threads, "_workers", lambda: 2)
    before = [library.get_num_threads() for library in threads._blas()]
    threads._pool.cache_clear()
    yield
    threads._pool.cache_clear()
    for library, number in zip(threads._blas(), before):
        library.set_num_threads(number)


def blas_threads():
    return {library.get_num_threads() for library in threads._blas()}


def test_results_come_in_the_order_of_the_items():
    assert threads.parallel_map(lambda i: i * i, range(20)) == [i * i for i in range(20)]


def test_workers_share_the_items_and_blas_keeps_to_one_thread():
    both = threading.Barrier(2)

    def f(i):
        both.wait(timeout=10)  # passes only where two run at once
        return threading.current_thread().name, blas_threads()

    names, limits = zip(*threads.parallel_map(f, [0, 1]))
    assert len(set(names)) == 2
    assert all(limit == {1} for limit in limits)
    assert blas_threads() == {2}


def test_nested_limits_end_with_the_outermost():
    with threads.one_blas_thread:
        with threads.one_blas_thread:
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_a_call_from_within_runs_in_its_worker():
    inner = threads.parallel_map(
        lambda i: threads.parallel_map(lambda j: (threading.get_ident(), 10 * i + j), [0, 1]),
        [0, 1],
    )
    assert [[value for _, value in row] for row in inner] == [[0, 1], [10, 11]]
    assert all(len({thread for thread, _ in row}) == 1 for row in inner)


def test_an_error_comes_through_and_frees_the_workers():
    with pytest.raises(ZeroDivisionError):
        threads.parallel_map(lambda i: 1 / i, [1, 0])
    assert threads.parallel_map(str, [1, 2]) == ["1", "2"]


def test_one_core_needs_no_workers(monkeypatch):
    monkeypatch.setattr(threads, "_workers", lambda: 1)
    names = threads.parallel_map(lambda i: threading.get_ident(), [0, 1])
    assert set(names) == {threading.get_ident()}
