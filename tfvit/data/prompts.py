"""From class names to the texts that zero-shot classification compares with.

The lists of templates are those of CLIP (arXiv 2103.00020), each followed by
the bare name, as LiT uses them (arXiv 2111.07991).
"""
from collections.abc import Sequence
import re
import string

class_name_only = ("{}",)

# The seven that CLIP's authors found to do as well as all of theirs.
clip_best = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "{}",
)

_FRAMES = (
    "a photo of @ {}.",
    "@ {} in a video game.",
    *(f"a {kind} photo of @ {{}}."
      for kind in ("bad", "low resolution", "bright", "cropped", "dark",
                   "close-up", "black and white", "pixelated", "blurry",
                   "jpeg corrupted", "good")),
    *(f"a photo of @ {look} {{}}."
      for look in ("hard to see", "clean", "dirty", "cool", "nice", "weird",
                   "large", "small")),
    *(f"{work} of @ {{}}."
      for work in ("a sculpture", "a rendering", "graffiti", "a tattoo",
                   "a drawing", "a painting", "a doodle", "a sketch",
                   "a rendition", "art", "itap")),
    *(f"@ {material} {{}}."
      for material in ("embroidered", "plastic", "origami", "toy", "cartoon",
                       "plushie")),
)
# CLIP's 80 for ImageNet: 38 frames with either article, and four of their own.
clip_paper = (
    *(frame.replace("@", article)
      for frame in _FRAMES for article in ("a", "the")),
    "a photo of many {}.",
    "a photo of one {}.",
    "a photo of my {}.",
    "itap of my {}.",
    "{}",
)


def canonical(text: str, keep: str = "") -> str:
    """Lower-cases a text, without punctuation but `keep`, and single-spaced."""
    parts = text.replace("_", " ").split(keep) if keep else [
        text.replace("_", " ")]
    parts = (part.translate(_NO_PUNCTUATION) for part in parts)
    return " ".join(keep.join(parts).lower().split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def texts(class_names: Sequence[str], templates: Sequence[str],
          canonicalize: bool = True) -> list[list[str]]:
    """The texts of each class, in the order of the templates: [C][P].

    Of several names that commas separate the first counts, and a WordNet number
    before them is left out.

    Args:
      class_names: such as "tench, Tinca tinca" or "hot_pot".
      templates: one of the lists above, or texts with one "{}" each.
      canonicalize: pass names and templates through `canonical`.

    Raises:
      ValueError: a template has no "{}", or a name is empty.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"The prompt {template!r} must have one {{}}, "
                             "where the class name goes.")
    if not templates:
        raise ValueError("There must be at least one prompt, such as '{}'.")
    names = [re.sub(r"^n\d{8} ", "", name).replace("_", " ")
             for name in class_names]
    if canonicalize:
        names = [canonical(name, keep=",") for name in names]
        templates = [canonical(template, keep="{}") for template in templates]
    names = [name.split(",")[0].strip() for name in names]
    if "" in names:
        raise ValueError(f"Class {names.index('')} has no name: "
                         f"{class_names[names.index('')]!r}.")
    return [[template.replace("{}", name) for template in templates]
            for name in names]
