"""The NumPy front end: `protocol.py` says which op a function is, a module per family how it reads."""

from traceprop.tracing.numpy.calls import astype, constant_like
from traceprop.tracing.numpy.protocol import PAYLOADS, function, ufunc

__all__ = ["PAYLOADS", "astype", "constant_like", "function", "ufunc"]
