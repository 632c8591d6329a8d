"""The functions of a SavedModel of images and texts.

The tokenizer is in the graph: texts come as they are. Loading the SavedModel in
Python needs `import tensorflow_text`; TensorFlow Serving has its ops.
"""

import tensorflow as tf

from tfvit.serving import convert
from tfvit.serving import formats
from tfvit.serving import images as images_lib
from tfvit.serving import reusable


class Server(reusable.Reusable):
    """Serves one LiT.

    Images are preprocessed as in evaluation. Functions that take them return
    `error`, string [B]: "" or why an image was left out; its other outputs are
    0.

    Args:
      model: a models.lit.LiT.
      ops: preprocessing, from an encoded image to [H, W, 3] in [-1, 1].
      tokenizer: one of data.tokenizers.
      max_pixels: larger images are not decoded.
      jit: compile the towers with XLA, once for each batch size they meet.
      only: names of the signatures to have; none for all.

    Raises:
      ValueError: an op is random.
    """

    def __init__(self, *, model, ops, tokenizer, max_pixels=formats.MAX_PIXELS,
                 jit=False, only=()):
        self.image_shape = tuple(model.img.input_shape[1:])
        super().__init__(model=model, call=model.embed_images,
                         shape=self.image_shape, gives="features")
        self._only = tuple(only)
        self.tokenizer = tokenizer  # Holds the vocabulary for the SavedModel.
        self._read = images_lib.Reader(ops, self.image_shape, max_pixels)
        compiled = lambda embed: tf.function(embed, autograph=False,
                                             jit_compile=jit)
        self._images = compiled(model.embed_images)
        self._texts = compiled(model.embed_texts)
        self._scores = lambda similarities: (
            model.temperature() * similarities + model.bias())
        # SigLIP's loss, which has the bias, judges each text by itself.
        self._link = tf.nn.softmax if model.b is None else tf.sigmoid

    def signatures(self, make=images_lib.signature):
        """As signatures.Server.signatures."""
        encoded = tf.TensorSpec([None], tf.string, "image_bytes")
        texts = tf.TensorSpec([None], tf.string, "texts")
        size = self._texts(self.tokenizer(["text"])).shape[-1]
        embedded = tf.TensorSpec([None, size], tf.float32, "text_embeddings")
        found = {
            "embed_images": (self.embed_images, [encoded]),
            "embed_texts": (self.embed_texts, [texts]),
            "zeroshot": (self.zeroshot, [encoded, texts]),
            "zeroshot_embedded": (self.zeroshot_embedded, [encoded, embedded]),
        }
        return {name: make(function, *specs)
                for name, (function, specs) in images_lib.chosen(
                    found, self._only).items()}

    def parts(self, probabilities=False):
        """{"image", "text": convert.Part}, each -> embeddings of length 1.

        Raises:
          ValueError: probabilities are asked for.
        """
        if probabilities:
            raise ValueError("--probabilities: the towers give embeddings. A "
                             "SavedModel's signature zeroshot has them.")
        images = tf.TensorSpec([None, *self.image_shape], tf.float32, "images")
        tokens = tf.TensorSpec([None, self.tokenizer.max_len], tf.int32,
                               "tokens")
        return {name: convert.Part(
            call=lambda inputs, embed=embed: {"embeddings": embed(inputs)},
            owner=self, classes=False, spec=spec) for name, embed, spec in (
                ("image", self._images, images), ("text", self._texts, tokens))}

    def preprocess(self, images):
        """See images.Reader."""
        return self._read(images)

    def warmup_requests(self, size):
        """(signature, inputs) pairs that serve batches of `size` first."""
        requests = {
            "embed_images": {
                "image_bytes": [images_lib.grey(self.image_shape)] * size},
            "embed_texts": {"texts": ["a photo"] * size},
        }
        return [(name, inputs) for name, inputs in requests.items()
                if not self._only or name in self._only]

    def embed_images(self, image_bytes):
        """Encoded images [B] -> embeddings [B, D] of length 1."""
        images, error = self.preprocess(image_bytes)
        return {"embeddings": images_lib.masked(self._images(images), error),
                "error": error}

    def embed_texts(self, texts):
        """Texts [T] -> embeddings [T, D] of length 1."""
        return {"embeddings": self._texts(self.tokenizer(texts))}

    def zeroshot(self, image_bytes, texts):
        """Encoded images [B], texts [T] -> probabilities [B, T].

        Over the texts they sum to 1, except for models with a bias, which say
        for each text by itself how likely it goes with the image.
        """
        return self.zeroshot_embedded(
            image_bytes, self.embed_texts(texts)["embeddings"])

    def zeroshot_embedded(self, image_bytes, text_embeddings):
        """As zeroshot, from embeddings [T, D], such as means over prompts."""
        found = self.embed_images(image_bytes)
        similarities = tf.matmul(found["embeddings"], text_embeddings,
                                 transpose_b=True)
        probabilities = self._link(self._scores(similarities))
        return {"probabilities": images_lib.masked(probabilities,
                                                   found["error"]),
                "error": found["error"]}
