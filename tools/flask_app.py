"""What people write first: Keras and Pillow in a Flask app.

tools/bench_serving.py measures `tfvit serve` against it.
"""

import io

import numpy as np

from tfvit.inference import finished

_TOP_K = 5


def make(model, trust):
    """The app: POST / takes a file's bytes, gives the classes with scores.

    Args:
      model, trust: as finished.load takes them.
    """
    import flask
    from PIL import Image

    trained = finished.load(model, trust=trust)
    height, width = trained.model.input_shape[1:3]
    app = flask.Flask(__name__)

    @app.post("/")
    def classify():
        image = Image.open(io.BytesIO(flask.request.get_data()))
        image = image.convert("RGB").resize((width, height), Image.BILINEAR)
        x = np.asarray(image, np.float32)[np.newaxis] / 127.5 - 1
        logits = trained.model.predict_on_batch(x)[0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = np.argsort(-scores)[:_TOP_K]
        return {"classes": [{"class": trained.class_names[i],
                             "score": float(scores[i])} for i in best]}

    with app.test_client() as client:  # Keras compiles on its first call.
        file = io.BytesIO()
        Image.new("RGB", (width, height)).save(file, "JPEG")
        client.post("/", data=file.getvalue())
    return app


def main(model, trust):
    """Serves on any port of this machine until the process ends."""
    import logging

    from werkzeug import serving
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # A line a request.
    server = serving.make_server("127.0.0.1", 0, make(model, trust),
                                 threaded=True)
    print(f"Serving on http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
