"""Optimisers: Muon for convolutions, which reaches an error rate in fewer epochs than Adam."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="digit_utils")
class ConvolutionMuon(keras.optimizers.Muon):
    """Muon (Jordan et al., 2024) that takes the kernel of a convolution for the matrix that it is.

    A convolution multiplies patches, (height * width * channels in), by a matrix with a column for each channel out.
    Keras' Muon leaves kernels with four axes to Adam; this one makes their updates orthogonal as well. The kernels that
    read the picture itself, one channel in, and the dense layers stay with Adam, as its authors advise.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 4 or variable.shape[2] == 1

    def zeropower_via_newtonschulz5(self, x: keras.KerasTensor, steps: int) -> keras.KerasTensor:
        """Return a kernel's update, (height, width, channels in, channels out), made nearly orthogonal."""
        matrix = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Scale an update so that it moves the weights about as far as Adam would (Liu et al., 2025)."""
        longer = max(int(np.prod(x.shape[:-1])), x.shape[-1])
        return x * (longer**0.5 * self.rms_rate)
