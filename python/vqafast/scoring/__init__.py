"""From a video to an `Assessment`: pipeline, pooling, calibration and the public calls."""
