"""What the layers of a network make of an image: their feature maps, to look at."""

import threading
import warnings

import numpy as np

from digit_utils.types import IMAGE_SIZE


class FeatureMaps:
    """Returns a network's feature maps. Safe to share between threads."""

    def __init__(self, flatbuffer: bytes):
        """Run a LiteRT flatbuffer apart from the recogniser, whose own interpreter overwrites what layers compute."""
        from ai_edge_litert.interpreter import Interpreter

        self._lock = threading.Lock()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # keeping all tensors takes memory: here some hundred kilobytes
            options = {"num_threads": 1, "experimental_preserve_all_tensors": True}
            self._interpreter = Interpreter(model_content=flatbuffer, **options)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        tensors = self._interpreter.get_tensor_details()
        self._maps = [tensor["index"] for tensor in tensors if self._is_stack_of_maps(tensor)]

    def of(self, image: np.ndarray) -> list[np.ndarray]:
        """Return the maps of each layer, first to last: (height, width, channels) float32, of ink (28, 28) in [0, 1].

        Layers whose maps are single pixels are left out.
        """
        image = np.asarray(image, np.float32).reshape(1, IMAGE_SIZE, IMAGE_SIZE, 1)
        with self._lock:
            self._interpreter.set_tensor(self._input, image)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index)[0] for index in self._maps]

    def _is_stack_of_maps(self, tensor: dict) -> bool:
        is_image = len(tensor["shape"]) == 4 and tensor["shape"][0] == 1 and tensor["shape"][1] > 1
        return is_image and tensor["dtype"] == np.float32 and tensor["index"] != self._input
