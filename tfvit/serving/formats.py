"""What exports are told by flags, which must not wait for TensorFlow."""

# What a model is exported as, beside a SavedModel: see convert.py.
FILES = ("tflite", "tflite_float16", "tflite_int8", "tflite_int8_weights",
         "onnx")
# What the page in a browser has its weights in, and the files of it.
BROWSER = {"float32": "tflite", "float16": "tflite_float16",
           "int8": "tflite_int8_weights"}
MAX_PIXELS = 50_000_000  # Of an image that is decoded, as large photos have.
# Weights of images that a page lets people download: those of ViT-B/16 in half
# precision have 172 MB, those of L/16 in int8 304.
MAX_IMAGE_MB = 200.0
