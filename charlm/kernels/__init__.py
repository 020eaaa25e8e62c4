"""Training and sampling in machine code for the CPU, compiled by Numba at the first run.

A training step of a small network is thousands of small operations, and a framework needs longer
to start one than to run it. Here a whole loop is one function: its products read a matrix packed
once for all steps, the gates are computed while their numbers are still in the cache, and each core
computes its own sequences, or its own units of them.

    registers.py     the processor's vector registers
    panels.py        the layout of matrices for products
    tile.py          a tile of a product in vector registers
    matmul.py        a product of small matrices, tile by tile
    float32.py       operands of products in float32
    bfloat16.py      operands of products in bfloat16, for processors that multiply them
    activations.py   activations, their slopes and the exponential
    lstm.py ...      a cell's equations and their derivatives, for one row of a batch
    barrier.py       synchronization of cores that share a time step
    time_loop.py     the loop over time, forward and backward
    work_space.py    the arrays that the loop works in
    shares.py        the share of each core: division, running side by side, joining
    batch_loop.py    the loop over time for a whole batch, on all cores
    dense.py         the output layer, forward and backward
    loss.py          softmax cross-entropy and its gradient
    generate.py      sampling from a whole network
    draw.py          its loop
    parallel.py      work on the machine's cores side by side
    buffer_pool.py   reuse of large arrays
    arrays.py        checks of arguments
    denormals.py     flushing of very small numbers to zero
    jit.py           Numba's settings
    disk.py          Numba's cache of machine code on disk
    object_code.py   object files on disk, which are loaded without Numba

Arguments and results are NumPy arrays in float32; there is no Keras here. Each cell has a file
(`charlm.cells` lists them), STATES states and weights of GATES blocks of H columns. Its `step` and
`step_backward` share a cache of CACHE blocks of H numbers. SPLIT says whether the gradients by
x W + b and by h' U differ.
"""
