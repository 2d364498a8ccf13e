"""Index arrays in few bytes, and questions on them as they are: one file per encoding.

`choose.encode` picks the smallest, `blob.to_bytes` writes it, `positions.AbstractPositions` says what all of them answer.
"""

from traceprop.passes.encodings import bounds
from traceprop.passes.encodings.algebra import compose, inverse, sliced
from traceprop.passes.encodings.bitmap import Bitmap
from traceprop.passes.encodings.blob import from_bytes, to_bytes
from traceprop.passes.encodings.blocks import Blocks, Repeated
from traceprop.passes.encodings.chained import Chained
from traceprop.passes.encodings.choose import HINTS, encode
from traceprop.passes.encodings.columns import Columns
from traceprop.passes.encodings.complement import Complement
from traceprop.passes.encodings.dictionary import Dictionary
from traceprop.passes.encodings.digits import Digits
from traceprop.passes.encodings.elias_fano import EliasFano
from traceprop.passes.encodings.frames import Frames
from traceprop.passes.encodings.keyed import Quotients, Remainders
from traceprop.passes.encodings.packed import Packed
from traceprop.passes.encodings.plain import Plain
from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.encodings.rice import Rice
from traceprop.passes.encodings.strided import Strided

__all__ = [
    "HINTS",
    "AbstractPositions",
    "Bitmap",
    "Blocks",
    "Chained",
    "Columns",
    "Complement",
    "Dictionary",
    "Digits",
    "EliasFano",
    "Facts",
    "Frames",
    "Packed",
    "Plain",
    "Quotients",
    "Remainders",
    "Repeated",
    "Rice",
    "Strided",
    "bounds",
    "compose",
    "encode",
    "from_bytes",
    "inverse",
    "sliced",
    "to_bytes",
]
