"""The processor's vector registers, and the part of a matrix product that fits into them."""

import llvmlite.binding

WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
# numbers in a register; registers and rows of a tile, which leave room for the operands
LANES, VECTORS, ROWS = (16, 2, 8) if WIDE else (8, 3, 4)
COLUMNS = LANES * VECTORS
