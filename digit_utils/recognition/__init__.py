"""Recognition: the exported network, its calibration and its threshold turn ink into a prediction."""
