"""Activations, their slopes and exp of one float32, in operations that vectorize.

Slopes are functions of the activation's value y, as in `charlm.reference.activations`.
"""

import numpy as np

from charlm.kernels.jit import f4, jit

# tanh(x) = x p(x^2) / q(x^2), a rational minimax approximation with a relative error of a few
# units in the last place, used in Eigen and XLA too; beyond LIMIT it is 1 in float32.
LIMIT = f4(7.99881172180175781)
P = tuple(
    f4(p)
    for p in (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
Q = tuple(
    f4(q)
    for q in (
        1.19825839466702e-06,
        1.18534705686654e-04,
        2.26843463243900e-03,
        4.89352518554385e-03,
    )
)
P0, P1, P2, P3, P4, P5, P6 = P
Q0, Q1, Q2, Q3 = Q
ZERO, SIXTH, HALF, ONE = f4(0), f4(1 / 6), f4(0.5), f4(1)


@jit
def tanh(x):
    """Computes the hyperbolic tangent; NaN stays NaN."""
    x = LIMIT if x > LIMIT else x  # in this form NaN passes through
    x = -LIMIT if x < -LIMIT else x
    s = x * x
    p = (((((P0 * s + P1) * s + P2) * s + P3) * s + P4) * s + P5) * s + P6
    q = ((Q0 * s + Q1) * s + Q2) * s + Q3
    return x * p / q


@jit
def tanh_slope(y):
    """Returns 1 - y^2."""
    return ONE - y * y


@jit
def sigmoid(x):
    """Computes 1 / (1 + exp(-x))."""
    return HALF * tanh(HALF * x) + HALF


@jit
def sigmoid_slope(y):
    """Returns y (1 - y)."""
    return y * (ONE - y)


@jit
def relu(x):
    """Returns max(x, 0); NaN stays NaN."""
    return ZERO if x <= ZERO else x


@jit
def relu_slope(y):
    """Returns 1 above 0, else 0."""
    return ONE if y > ZERO else ZERO


@jit
def linear(x):
    """Returns x."""
    return x


@jit
def linear_slope(_y):
    """Returns 1."""
    return ONE


@jit
def hard_sigmoid(x):
    """Returns x / 6 + 1/2 clipped to 0..1, as in Keras 3; NaN stays NaN."""
    y = x * SIXTH + HALF
    y = ZERO if y < ZERO else y
    return ONE if y > ONE else y


@jit
def hard_sigmoid_slope(y):
    """Returns 1/6 between 0 and 1, else 0."""
    return SIXTH if ZERO < y < ONE else ZERO


ACTIVATIONS = {  # by name in `keras.activations`: the function, its slope
    "tanh": (tanh, tanh_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "relu": (relu, relu_slope),
    "linear": (linear, linear_slope),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_slope),
}


# exp(r) for r from -ln 2 / 2 to ln 2 / 2: 1 + r + r^2 q(r), a minimax approximation used in Cephes
LOG2_E, LN2_HIGH, LN2_LOW = f4(1.44269504088896341), f4(0.693359375), f4(-2.12194440e-4)
LEAST = f4(-87)  # the exponential of smaller numbers underflows in float32
C0, C1, C2, C3, C4, C5 = (
    f4(c)
    for c in (
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    )
)
BIAS, MANTISSA = np.int32(127), np.int32(23)  # of float32's exponent


@jit
def exp(x):
    """Computes e^x for x up to 88, and e^-87 below -87; NaN stays NaN."""
    x = LEAST if x < LEAST else x
    n = np.floor(x * LOG2_E + HALF)  # e^x = 2^n e^r
    r = x - n * LN2_HIGH - n * LN2_LOW
    q = ((((C0 * r + C1) * r + C2) * r + C3) * r + C4) * r + C5
    power = np.int32((np.int32(n) + BIAS) << MANTISSA).view(np.float32)
    return (q * r * r + r + ONE) * power
