"""What exports are told by flags, which must not wait for TensorFlow."""

# What a model is exported as, beside a SavedModel: see convert.py.
FILES = ("tflite", "tflite_float16", "tflite_int8", "onnx")
MAX_PIXELS = 50_000_000  # Of an image that is decoded, as large photos have.
