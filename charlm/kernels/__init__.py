"""Training and sampling as machine code for the CPU, compiled by Numba when first run.

A training step of a small network is thousands of small operations, and a framework takes longer
to start one than it lasts. Here a whole loop is one function: its products read a matrix laid out
once for all steps, the gates follow while their numbers are still in the cache, and each core takes
its own part of the batch from the first step to the last.

    matmul.py        a product of small matrices, a tile of registers at a time
    float32.py       its factors in float32
    bfloat16.py      its factors in bfloat16, for processors that multiply them
    activations.py   tanh, sigmoid and the exponential
    lstm.py ...      a cell's equations, and their derivatives, for one row of a batch
    time_loop.py     the loop over time, forward and backward
    batch_loop.py    the same for a whole batch, on all cores
    dense.py         the output layer, forward and backward
    loss.py          softmax cross-entropy and its slope
    generate.py      text of a whole network
    parallel.py      parts of a batch on the machine's cores
    buffer_pool.py   large arrays, used again
    arrays.py        checks of the arrays that come in
    denormals.py     very small numbers taken for zero
    jit.py           Numba's settings
    disk.py          machine code kept between runs

NumPy arrays in float32 go in and come out; there is no Keras here. A cell is a file of its name
(`charlm.cells` lists them). It has STATES states and weights of GATES blocks of H columns. `step`
and `step_backward` share a cache of CACHE blocks of H numbers. SPLIT says whether the gradients by
x W + b and by h' U differ.
"""
