"""Optimizers: Muon for convolutions, which reaches an error rate in fewer epochs than Adam, and averaged weights."""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from digit_utils.training.config import OPTIMIZERS

AVERAGE_POWER = 4  # weights count by this power of the step: half of the average comes from the last eighth of a run


class AveragedWeights:
    """Mixed into an optimizer: with `use_ema` it keeps a polynomial-decay average (Shamir and Zhang, 2013).

    After t steps the weights of step s count as s**AVERAGE_POWER. So the average forgets its start however long the run
    is, where an exponential average needs a time constant. An average of weights that a learning rate keeps moving lies
    in a flatter minimum than any of them, and generalises better to digits unlike the training data (Izmailov et al.,
    2018, "Averaging weights leads to wider optima and better generalization").
    """

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        if not self.use_ema:
            return
        steps = ops.cast(self.iterations, "float32")  # not counting this one
        share = (AVERAGE_POWER + 1) / (AVERAGE_POWER + 1 + steps)
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            average.assign(average + ops.cast(share, average.dtype) * (variable - average))

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Leave the weights as they are: training continues from them, not from their average."""


@keras.saving.register_keras_serializable(package="digit_utils")
class AveragedAdamW(AveragedWeights, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, 2019) that can average the weights."""


@keras.saving.register_keras_serializable(package="digit_utils")
class ConvolutionMuon(AveragedWeights, keras.optimizers.Muon):
    """Muon (Jordan et al., 2024) that treats the kernel of a convolution as the matrix that it is.

    A convolution multiplies patches, (height * width * input channels), by a matrix with a column for each output
    channel. Keras' Muon leaves kernels with four axes to Adam; this one orthogonalises their updates as well. The
    first convolution, with a single input channel, and the dense layers stay with Adam, as its authors advise.
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
    """Return the averages of the trainable weights, in their order, from an optimizer with `use_ema`."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # under a LossScaleOptimizer
    return [ops.convert_to_numpy(average) for average in inner._model_variables_moving_average]


def build_optimizer(
    name: str, learning_rate: Any, *, weight_decay: float = 0.0, average_weights: bool = False
) -> keras.optimizers.Optimizer:
    """Return a new optimizer.

    Args:
        name: "adamw" (Loshchilov and Hutter, 2019), "muon", or "brief_muon", which forgets gradients sooner and suits
            runs of a few hundred steps.
        learning_rate: a number or a Keras schedule.
        weight_decay: decoupled; each step shrinks the weights by this times the learning rate.
        average_weights: whether it keeps a running average of the weights, see `averaged_weights`.

    Raises ValueError for another name.
    """
    if name == "adamw":
        return AveragedAdamW(learning_rate, weight_decay=weight_decay, use_ema=average_weights)
    if name not in ("muon", "brief_muon"):
        raise ValueError(f"there is no optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    memory = {"momentum": 0.9, "adam_beta_2": 0.95} if name == "brief_muon" else {}
    decay = {"weight_decay": weight_decay, "adam_weight_decay": weight_decay}
    return ConvolutionMuon(learning_rate, use_ema=average_weights, **decay, **memory)
