"""Loads scikit-learn's handwritten digits; see sources.digits."""
import numpy as np


def load(split: str, test_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 [N, 8, 8, 1] from 0 to 255, and labels [N].

    Raises:
      ImportError, ValueError: see sources.digits.
    """
    if split not in ("train", "test"):
        raise ValueError(f"sources.digits.split = {split!r} is neither "
                         "'train' nor 'test'.")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("sources.digits needs scikit-learn: "
                          "pip install tfvit[digits]") from error
    data = datasets.load_digits()
    # RandomState: NumPy promises its numbers never change.
    order = np.random.RandomState(0).permutation(len(data.target))
    chosen = []
    for label in range(10):
        members = order[data.target[order] == label]
        begin = round(len(members) * test_fraction)
        chosen.extend(members[begin:] if split == "train" else members[:begin])
    chosen = np.sort(chosen)
    images = np.round(data.images[chosen, :, :, np.newaxis] * (255 / 16))
    return images.astype(np.uint8), data.target[chosen]
