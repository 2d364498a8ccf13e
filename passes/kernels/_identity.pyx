# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Whether dicts and lists hold the objects that they held; reference.holds_same, of which this gives every answer."""

from cpython.dict cimport PyDict_Next
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM


def holds_same(list shelves):
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at, k, n = len(shelves), i
    cdef tuple pair, then
    cdef object shelf  # no Python code runs while it is looked at
    for i in range(n):
        pair = <tuple>shelves[i]
        shelf, then = pair[0], <tuple>pair[1]
        if isinstance(shelf, dict):
            if 2 * len(<dict>shelf) != len(then):
                return False
            at = k = 0
            while PyDict_Next(shelf, &at, &key, &value):
                if key != <PyObject*>PyTuple_GET_ITEM(then, k) or value != <PyObject*>PyTuple_GET_ITEM(then, k + 1):
                    return False
                k += 2
        else:
            if len(<list>shelf) != len(then):
                return False
            for k in range(len(then)):
                if <PyObject*>PyList_GET_ITEM(shelf, k) != <PyObject*>PyTuple_GET_ITEM(then, k):
                    return False
    return True
