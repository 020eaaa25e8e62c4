"""A tile of a matrix product in vector registers, written in LLVM's language."""

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from charlm.kernels.registers import LANES, ROWS, VECTORS


class _BFloat(ir.Type):
    """The type bfloat16 in LLVM's language, which llvmlite lacks."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


INDEX, VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)


def _add(builder, total, x, y):
    """Writes total + x y."""
    product = builder.fmul(x, y, flags=["contract"])
    return builder.fadd(product, total, flags=["contract"])


def _add_pairs(builder, total, x, y):
    """Writes total + x[0] y[0] + x[1] y[1] of pairs."""
    pairs = ir.VectorType(_BFloat(), 2 * LANES)
    kind = ir.FunctionType(total.type, [total.type, pairs, pairs])
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * LANES}"
    dot = get_or_insert_function(builder.module, kind, name)
    return builder.call(dot, [total, *(builder.bitcast(v, pairs) for v in (x, y))])


def _place(builder, base, *offsets):
    """Writes the address `base` plus offsets."""
    for offset in offsets:
        base = builder.gep(base, [offset])
    return base


def _vectors(builder, base, kind):
    """Writes the addresses of the VECTORS vectors at `base`."""
    ends = [_place(builder, base, ir.Constant(INDEX, v * LANES)) for v in range(VECTORS)]
    return [builder.bitcast(end, kind.as_pointer()) for end in ends]


def _load(builder, address):
    """Writes a load of an address that need not be aligned to a vector."""
    value = builder.load(address)
    value.align = 4
    return value


def _broadcast(builder, x, kind):
    """Writes a vector with x in every place."""
    first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    x = builder.insert_element(ir.Constant(kind, ir.Undefined), x, INDEX(0))
    return builder.shuffle_vector(x, ir.Constant(kind, ir.Undefined), first)


def _write_tile(rows, context, builder, signature, arguments):
    """Writes the body of a `_tile`."""
    a, a_at, a_row, a_step, p, p_at, p_step, c, c_at, c_row, K = arguments
    half = signature.args[0].dtype == types.uint32
    factor = ir.VectorType(ir.IntType(32) if half else ir.FloatType(), LANES)
    add = _add_pairs if half else _add

    def begin(array, kind, at):
        return _place(builder, context.make_array(kind)(context, builder, value=array).data, at)

    def times(k, stride):
        return builder.mul(ir.Constant(INDEX, k), stride)

    a = begin(a, signature.args[0], a_at)
    p = begin(p, signature.args[4], p_at)
    c = begin(c, signature.args[7], c_at)
    starts_of_rows = [_place(builder, c, times(r, c_row)) for r in range(rows)]
    results = [x for start in starts_of_rows for x in _vectors(builder, start, VECTOR)]
    starts = [_load(builder, x) for x in results]
    before = builder.block
    loop, end = builder.append_basic_block("steps"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INDEX)
    sums = [builder.phi(VECTOR) for _ in starts]
    row = _vectors(builder, _place(builder, p, builder.mul(k, p_step)), factor)
    row = [_load(builder, x) for x in row]
    new = []
    for r in range(rows):
        x = _load(builder, _place(builder, a, times(r, a_row), builder.mul(k, a_step)))
        x = _broadcast(builder, x, factor)
        new += [add(builder, sums[r * VECTORS + v], x, row[v]) for v in range(VECTORS)]
    k_next = builder.add(k, INDEX(1))
    pairs = zip([k, *sums], [INDEX(0), *starts], [k_next, *new], strict=True)
    for phi, start, value in pairs:
        phi.add_incoming(start, before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", k_next, K), loop, end)
    builder.position_at_end(end)
    for address, value in zip(results, new, strict=True):
        builder.store(value, address).align = 4


def _tile(rows):
    """Makes a function that adds a product to a tile: `rows` rows of the result, COLUMNS columns.

    Numba has no vector type, so `_write_tile` writes the loop over k in LLVM's language: the tile
    is in rows x VECTORS registers, and each step multiplies a row of p by a number of each row of
    a.
    """

    @intrinsic
    def tile(_, a, a_at, a_row, a_step, p, p_at, p_step, c, c_at, c_row, K):
        """Adds to c[r, j] the sum over k of a[r, k] p[k, j].

        Args:
            a, p, c: contiguous arrays. Elements of a and p are numbers in float32, or words with
                two of them in bfloat16; those of c are float32.
            a_at, p_at, c_at: the elements where operands and tile start.
            a_row, c_row: elements from r to r + 1.
            a_step, p_step: elements from k to k + 1.
            K: the number of steps, 1 or more.
        """

        def write(context, builder, signature, arguments):
            _write_tile(rows, context, builder, signature, arguments)
            return context.get_dummy_value()

        n = types.intp
        return types.void(a, n, n, n, p, n, n, c, n, n, n), write

    return tile


tile, row_tile = _tile(ROWS), _tile(1)
