"""A product of small matrices, written for the registers of one core.

A BLAS lays its second factor out anew in every call, for it cannot know that the same matrix comes
again. A recurrent kernel comes again at every time step, so it is laid out once for all of them: in
panels of COLUMNS columns, each read from its first row to its last. A tile, ROWS x COLUMNS numbers
of the result, stays in vector registers until it is done. After Goto and van de Geijn 2008,
"Anatomy of High-Performance Matrix Multiplication".
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, register_jitable

from charlm.kernels.buffer_pool import empty, zeros
from charlm.kernels.jit import cached_jit, jit

# numbers in a vector register, and what of the result fits into all of them beside the factors
WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
LANES, VECTORS, ROWS = (16, 2, 8) if WIDE else (8, 3, 4)
COLUMNS = LANES * VECTORS
ALONE = 4  # fewer rows than this are quicker one by one than as a tile
LINE = 16  # numbers in a line of the cache
DEPTH = 512  # rows of a panel read in one go, so that they stay in the nearest cache
SUMMED = 144  # rows of both factors of a transposed product, likewise
PADDING = 16  # numbers after each row, or all of a column would compete for one place in the cache


@register_jitable
def rounded(n, unit):
    """n, up to a whole number of units."""
    return -(-n // unit) * unit


@register_jitable
def padded(n):
    """The rows that `multiply` is given for n of them: up to whole tiles, unless they are few."""
    return n if n < ALONE else rounded(n, ROWS)


def pack_panels(matrix):
    """(K, N) -> (N / COLUMNS, K, COLUMNS), zeros beyond N."""
    K, N = matrix.shape
    found = empty(rounded(N, COLUMNS) // COLUMNS, K, COLUMNS)
    if N % COLUMNS:
        found[-1] = 0
    if matrix.strides[0] < matrix.strides[1]:
        cached_jit(lay_out_transposed)(matrix.T, found)
        return found
    whole = N // COLUMNS * COLUMNS
    found[: whole // COLUMNS] = matrix[:, :whole].reshape(K, -1, COLUMNS).swapaxes(0, 1)
    if whole < N:
        found[-1, :, : N - whole] = matrix[:, whole:]
    return found


def lay_out_transposed(matrix, found):
    """Fills the `panels` of the transpose of matrix (N, K).

    NumPy would go column by column of it, and read each number from another line of the cache.
    """
    (N, K), Q = matrix.shape, len(found)
    for q in range(Q):
        for begin in range(0, K, LINE):
            for j in range(min(COLUMNS, N - q * COLUMNS)):
                for k in range(begin, min(begin + LINE, K)):
                    found[q, k, j] = matrix[q * COLUMNS + j, k]


class _BFloat(ir.Type):
    """bfloat16 in LLVM's language; llvmlite has no name for it."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


def _add(builder, total, x, y):
    """total + x y."""
    product = builder.fmul(x, y, flags=["contract"])
    return builder.fadd(product, total, flags=["contract"])


def _add_pairs(builder, total, x, y):
    """total + x[0] y[0] + x[1] y[1] of pairs."""
    pairs = ir.VectorType(_BFloat(), 2 * LANES)
    kind = ir.FunctionType(total.type, [total.type, pairs, pairs])
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * LANES}"
    dot = get_or_insert_function(builder.module, kind, name)
    return builder.call(dot, [total, *(builder.bitcast(v, pairs) for v in (x, y))])


def _tile(rows):
    """A function that adds a product to a tile: `rows` rows of the result, COLUMNS columns.

    Numba has no vector type, so this writes the loop over k in LLVM's language: the tile in
    rows x VECTORS registers, each step multiplying a row of p by a number of each row of a.
    """

    @intrinsic
    def tile(_, a, a_at, a_row, a_step, p, p_at, p_step, c, c_at, c_row, K):
        """c[r, j] += sum over k of a[r, k] p[k, j].

        Args:
            a, p, c: contiguous arrays. Elements of a and p are numbers in float32, or words with
                two of them in bfloat16 (`half`); those of c are float32.
            a_at, p_at, c_at: where in them factors and tile begin. a_row, c_row: from r to r + 1.
            a_step, p_step: from k to k + 1. All count elements.
            K: steps, 1 or more.
        """

        def write(context, builder, signature, arguments):
            a, a_at, a_row, a_step, p, p_at, p_step, c, c_at, c_row, K = arguments
            index, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
            half = signature.args[0].dtype == types.uint32
            factor = ir.VectorType(ir.IntType(32) if half else ir.FloatType(), LANES)
            first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)

            def place(base, *offsets):
                for offset in offsets:
                    base = builder.gep(base, [offset])
                return base

            def begin(array, kind, at):
                return place(context.make_array(kind)(context, builder, value=array).data, at)

            def times(k, stride):
                return builder.mul(ir.Constant(index, k), stride)

            def vectors(base, kind):
                ends = [place(base, ir.Constant(index, v * LANES)) for v in range(VECTORS)]
                return [builder.bitcast(end, kind.as_pointer()) for end in ends]

            def load(address):
                value = builder.load(address)
                value.align = 4
                return value

            a = begin(a, signature.args[0], a_at)
            p = begin(p, signature.args[4], p_at)
            c = begin(c, signature.args[7], c_at)
            results = [x for r in range(rows) for x in vectors(place(c, times(r, c_row)), vector)]
            starts = [load(x) for x in results]
            before = builder.block
            loop, end = builder.append_basic_block("steps"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(index)
            sums = [builder.phi(vector) for _ in starts]
            row = [load(x) for x in vectors(place(p, builder.mul(k, p_step)), factor)]
            new = []
            for r in range(rows):
                x = load(place(a, times(r, a_row), builder.mul(k, a_step)))
                x = builder.insert_element(ir.Constant(factor, ir.Undefined), x, index(0))
                x = builder.shuffle_vector(x, ir.Constant(factor, ir.Undefined), first)
                add = _add_pairs if half else _add
                for v in range(VECTORS):
                    new.append(add(builder, sums[r * VECTORS + v], x, row[v]))
            k_next = builder.add(k, index(1))
            begun, ended = [index(0), *starts], [k_next, *new]
            for phi, start, value in zip([k, *sums], begun, ended, strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", k_next, K), loop, end)
            builder.position_at_end(end)
            for address, value in zip(results, new, strict=True):
                builder.store(value, address).align = 4
            return context.get_dummy_value()

        n = types.intp
        return types.void(a, n, n, n, p, n, n, c, n, n, n), write

    return tile


tile, row_tile = _tile(ROWS), _tile(1)


@jit
def multiply(a, first, R, b, c, left=0, to=0):
    """c[:R, to : to + N] += a[first : first + R, left : left + K] b.

    Args:
        R: rows; what is left after the last whole tile goes row by row, which is slow.
        b: `panels` of (K, N). c: (R or more, to + N up to COLUMNS or more).
        left: the first column of a, `to`: of c.
    """
    A, K, C, whole = a.shape[1], b.shape[1], c.shape[1], R // ROWS * ROWS
    for k in range(0, K, DEPTH):
        depth = min(DEPTH, K - k)
        for q in range(b.shape[0]):
            panel, column = (q * K + k) * COLUMNS, to + q * COLUMNS
            for r in range(0, whole, ROWS):
                row, at = (first + r) * A + left + k, r * C + column
                tile(a, row, A, 1, b, panel, COLUMNS, c, at, C, depth)
            for r in range(whole, R):
                row, at = (first + r) * A + left + k, r * C + column
                row_tile(a, row, A, 1, b, panel, COLUMNS, c, at, C, depth)


@jit
def multiply_transposed(a, b, K, c, left=0):
    """c += a^T b[:, left:] over the first K rows of both.

    Copies both factors, SUMMED rows at a time, into the order in which tiles read them. Where they
    are, each of their rows would lie on a page of its own.

    Args:
        a: (., R or more). b: (., left + C or more). c: `sums`, R and C whole tiles.
    """
    (R, width), C = c.shape, c.shape[1] - PADDING
    depth = min(K, SUMMED)
    tiles = np.empty((R // ROWS * depth, ROWS), a.dtype)
    columns = np.empty((C // COLUMNS * depth, COLUMNS), b.dtype)  # `panels` of those rows of b
    for first in range(0, K, SUMMED):
        n = min(SUMMED, K - first)
        for k in range(n):
            for r in range(R // ROWS):
                for i in range(ROWS):
                    tiles[r * n + k, i] = a[first + k, r * ROWS + i]
            for q in range(C // COLUMNS):
                for j in range(COLUMNS):
                    columns[q * n + k, j] = b[first + k, left + q * COLUMNS + j]
        for q in range(C // COLUMNS):
            for r in range(R // ROWS):
                at, panel = r * ROWS * width + q * COLUMNS, q * n * COLUMNS
                tile(tiles, r * n * ROWS, 1, ROWS, columns, panel, COLUMNS, c, at, width, n)


def sums(*shape):
    """Zeros, (..., R, C) and padded, for `multiply_transposed` to add to."""
    *many, R, C = shape
    return zeros(*many, rounded(R, ROWS), rounded(C, COLUMNS) + PADDING)
