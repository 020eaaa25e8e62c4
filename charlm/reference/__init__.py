"""The specification: cells and network in plain NumPy, gradients by hand, one equation a line.

The layers are tested against it; it samples text, and it trains without Keras
(`python -m charlm.reference`). Each cell is a module of two functions, `step` and `step_backward`,
that share only the cache that `step` returns. `charlm.cells` lists them.
"""
