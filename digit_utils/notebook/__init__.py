"""Running notebooks: execution, kernels, parameters, results, Colab."""
