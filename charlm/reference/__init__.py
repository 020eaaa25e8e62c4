"""The same cells and network in plain NumPy, forward and backward by hand, one equation a line.

What the layers are checked against, what samples text, and what trains without Keras
(`python -m charlm.reference`). Each cell is a module of two functions, `step` and `step_backward`,
that share nothing but the cache the first returns. `charlm.cells` lists them.
"""
