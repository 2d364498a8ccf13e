"""While blocks go to threads, BLAS takes one thread per call; and then as many as before."""

import threading

import pytest
import scipy.linalg  # noqa: F401  (has a BLAS of its own)
from threadpoolctl import ThreadpoolController

from traceprop.passes.kernels.blas import one_thread_per_call


def taken():
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


def test_threads_are_given_back():
    before = taken()
    with one_thread_per_call() as threads:
        assert threads == max(before, default=1)
        assert all(number == 1 for number in taken())
        with one_thread_per_call() as again:
            assert again == threads
        assert all(number == 1 for number in taken())
    assert taken() == before


def test_also_after_an_error_and_when_two_overlap():
    before, inside, leave = taken(), threading.Event(), threading.Event()

    def other():
        with one_thread_per_call():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with pytest.raises(KeyError), one_thread_per_call():
        thread.start()
        inside.wait()
        raise KeyError
    assert taken() == before  # told by the thread that limited it: OpenBLAS heeds no other
    leave.set()
    thread.join()
    assert taken() == before
