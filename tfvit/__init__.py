"""Vision Transformers, hybrids, MLP-Mixer and LiT for TensorFlow 2.

    import tfvit
    model = tfvit.load("imagenet21k+imagenet2012/ViT-B_16-224")
    model.predict("photo.jpg")
    run = tfvit.fine_tune("/data/flowers", model="B_16", epochs=20)
    run.model("best").export("exports/flowers")
"""

import importlib

# Looked up when they are used: TensorFlow takes seconds to import.
_HOMES = {
    "models": ("Model", "build", "list_checkpoints", "list_models", "load"),
    "runs": ("Recipe", "Run", "fine_tune", "plan", "recipe"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'tfvit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tfvit.api.{_HOME[name]}"), name)


def __dir__():
    return sorted([*globals(), *__all__])
