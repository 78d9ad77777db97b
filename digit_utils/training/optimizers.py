"""Optimisers: Muon for convolutions, which reaches an error rate in fewer epochs than Adam, and averaged weights."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

AVERAGE_POWER = 4  # weights count by this power of the step: half of the average comes from the last eighth of a run


class AveragedWeights:
    """Mixed into an optimiser: with `use_ema` it keeps a polynomial-decay average (Shamir and Zhang, 2013).

    After t steps the weights of step s count as s**AVERAGE_POWER. So the average forgets its start, whatever the length
    of the run, where an exponential one needs a length of its own. An average of weights that a learning rate keeps
    moving lies in a flatter place than any of them, and reads what is unlike the training data better (Izmailov et
    al., 2018, "Averaging weights leads to wider optima and better generalization").
    """

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        if not self.use_ema:
            return
        steps = ops.cast(self.iterations, "float32")  # this one not counted
        share = (AVERAGE_POWER + 1) / (AVERAGE_POWER + 1 + steps)
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            average.assign(average + ops.cast(share, average.dtype) * (variable - average))

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Leave the weights as they are: training goes on from them, not from their average."""


@keras.saving.register_keras_serializable(package="digit_utils")
class AveragedAdamW(AveragedWeights, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, 2019) that can average the weights."""


@keras.saving.register_keras_serializable(package="digit_utils")
class ConvolutionMuon(AveragedWeights, keras.optimizers.Muon):
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


def averaged_weights(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
    """Return the averages of the trainable weights, in their order, of an optimiser with `use_ema`."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # under a LossScaleOptimizer
    return [ops.convert_to_numpy(average) for average in inner._model_variables_moving_average]


def _muon(schedule: Any, decay: float, averaged: bool, **memory: float) -> keras.optimizers.Optimizer:
    return ConvolutionMuon(schedule, weight_decay=decay, adam_weight_decay=decay, use_ema=averaged, **memory)


OPTIMIZERS: dict[str, Callable[[Any, float, bool], keras.optimizers.Optimizer]] = {
    "adamw": lambda schedule, decay, averaged: AveragedAdamW(schedule, weight_decay=decay, use_ema=averaged),
    "muon": _muon,
    "brief_muon": partial(_muon, momentum=0.9, adam_beta_2=0.95),  # forgets sooner, for runs of a few hundred steps
}
