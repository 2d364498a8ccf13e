"""Contractions: sums of products over shared axes."""

from __future__ import annotations

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir.expr import Dim
from traceprop.ir.graph import Op
from traceprop.ir.index_map import Full, Read, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Type

contract = OpDef(
    "contract", 'Einstein summation, `{spec="ab,bc->ac"}`: letters that the result lacks are summed over.', "needed"
)


def _parts(spec: str) -> tuple[list[str], str]:
    left, _, right = spec.partition("->")
    return left.split(","), right


def _check_spec(spec: str) -> None:
    terms, result = _parts(spec)
    letters = "".join(terms)
    if "->" not in spec or not (letters + result).isalpha() and letters + result:
        raise TypeRuleError(f"spec {spec!r} is not like 'ab,bc->ac'")
    if len(set(result)) != len(result) or not set(result) <= set(letters):
        raise TypeRuleError(f"the result of spec {spec!r} must name each of its axes once, by a letter of the operands")


@contract.types
def _contract_type(sig: Signature) -> Type:
    _check_spec(sig.attrs["spec"])
    terms, result = _parts(sig.attrs["spec"])
    dims: dict[str, Dim] = {}
    if len(terms) != len(sig.operands):
        raise TypeRuleError(f"spec {sig.attrs['spec']!r} has {len(terms)} terms for {len(sig.operands)} operands")
    for term, operand in zip(terms, sig.operands, strict=True):
        if not isinstance(operand, ArrayType) or len(term) != len(operand.dims):
            raise TypeRuleError(f"term {term!r} does not fit {operand}")
        for letter, dim in zip(term, operand.dims, strict=True):
            if dims.setdefault(letter, dim) != dim:
                raise DimMismatchError(f"sizes {dims[letter]} and {dim} of the shared axis differ", dims[letter], dim)
    first = sig.operands[0]
    return ArrayType(
        sig.dtype or (first.dtype if isinstance(first, ArrayType) else "f64"), tuple(dims[x] for x in result)
    )


@contract.reads
def _contract_reads(op: Op) -> list[Read]:
    """(i, j) <- %a[i, *], %b[*, j]"""
    terms, result = _parts(op.attrs["spec"])
    return [
        Read(operand, tuple(axis(result.index(letter)) if letter in result else Full() for letter in term))
        for term, operand in zip(terms, op.operands, strict=True)
    ]
