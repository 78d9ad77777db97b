"""The settings of TensorFlow that training relies on; modules of this package import this one before Keras."""

import os


def configure_tensorflow() -> None:
    """Set the environment variables that TensorFlow reads when it is loaded, unless the user has set them.

    - `TF_DETERMINISTIC_OPS=1`: kernels that give the same result every time, so that a seed decides the network.
    - `TF_ENABLE_ONEDNN_OPTS=1`: oneDNN's convolutions on every processor. By default TensorFlow takes them only with
      AVX-512 VNNI; on a processor without it, they shortened training by a fifth.
    - `TF_CPP_MIN_LOG_LEVEL=3`: errors only, no greeting about instruction sets and missing GPUs.

    They have no effect where TensorFlow was imported before, and none on other backends of Keras.
    """
    for name, value in (("TF_DETERMINISTIC_OPS", "1"), ("TF_ENABLE_ONEDNN_OPTS", "1"), ("TF_CPP_MIN_LOG_LEVEL", "3")):
        os.environ.setdefault(name, value)


configure_tensorflow()
