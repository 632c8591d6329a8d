"""What a model is exported as, beside a SavedModel: see convert.py."""

FILES = ("tflite", "tflite_float16", "tflite_int8", "onnx")
