"""Adam as a fused operation, where the backend has one."""

import keras

Adam = keras.optimizers.Adam  # for JAX, which fuses it, and torch, for which Keras has one
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    class Adam(keras.optimizers.Adam):  # type: ignore[no-redef]  # on TensorFlow, instead of it
        """`keras.optimizers.Adam`: its arguments, equations and variables.

        It updates a variable in one operation. Keras uses twelve, each of which reads and writes
        arrays as large as the weights. At step t, for a gradient g and a learning rate r:

            m = beta_1 m + (1 - beta_1) g
            v = beta_2 v + (1 - beta_2) g^2
            w = w - r sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

        1 - beta is computed in float32, in Keras in double precision, so numbers differ in the
        fifth or sixth digit. Source: Kingma and Ba 2015, "Adam: A Method for Stochastic
        Optimization", the order of computation at the end of section 2.
        """

        def update_step(
            self,
            gradient: keras.KerasTensor,
            variable: keras.Variable,
            learning_rate: keras.KerasTensor,
        ) -> None:
            """Updates one variable; the gradient has its shape or is slices of it."""
            if self.amsgrad:
                super().update_step(gradient, variable, learning_rate)
                return
            k, kind = self._get_variable_index(variable), variable.dtype
            step = tf.cast(self.iterations + 1, kind)
            beta_1, beta_2 = tf.constant(self.beta_1, kind), tf.constant(self.beta_2, kind)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[k].value.handle,
                v=self._velocities[k].value.handle,
                beta1_power=tf.pow(beta_1, step),
                beta2_power=tf.pow(beta_2, step),
                lr=tf.cast(learning_rate, kind),
                beta1=beta_1,
                beta2=beta_2,
                epsilon=tf.constant(self.epsilon, kind),
                grad=tf.cast(tf.convert_to_tensor(gradient), kind),  # a gather's gradient is slices
            )
