"""From a finished model to a page that runs it in a browser."""

import hashlib
import json
import os
import re

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data import prompts
from tfvit.inference import presets as presets_lib
from tfvit.serving import convert
from tfvit.serving import formats
from tfvit.serving import page
from tfvit.serving import saved
from tfvit.storage import paths

_BYTES = {"float32": 4, "float16": 2, "int8": 1}  # Of a weight.
# Share of the presets, which are few, that must get the class they get else.
_LEAST_SAME = 0.5
_TEMPLATES = {"clip_best": prompts.clip_best, "clip_paper": prompts.clip_paper}
_TOKENIZERS = ("wordpiece", "sentencepiece")  # What tools/demo has.
_NAMES = ("cat", "dog", "car", "tree", "house", "person")  # To compare with.


def export(trained, out, *, precisions, images=(), texts=(),
           name=None, max_image_mb=formats.MAX_IMAGE_MB, max_pixels=formats.MAX_PIXELS):
    """Writes the page, or adds a model to it.

    Args:
      trained: a finished.Trained of float32, of classes or of images and texts.
      out: the page's folder.
      precisions: of formats.BROWSER, of the files of weights.
      images: files of the presets, see presets.find.
      texts: the first prompts; () for what is on the presets.
      name: of the model on the page; None for its own.
      max_image_mb: of images' towers, larger ones are left out: the page has
        the presets alone then, of which the embeddings are known.
      max_pixels: the page refuses larger images.

    Returns:
      (folder of the model, its demo.json).

    Raises:
      ValueError: the page cannot do what the model needs; or no file is near
        enough to the original.
      ConnectionError: see npm.Package.
    """
    server = trained.server(max_pixels=max_pixels)
    if texts and not trained.tokenizer:
        raise ValueError("--texts: this model has classes, and no prompts.")
    if not trained.tokenizer and server.num_classes is None:
        raise ValueError("--format=browser is for models of images and texts, "
                         "or of classes; this one gives features.")
    if trained.tokenizer and trained.tokenizer.kind not in _TOKENIZERS:
        raise ValueError("--format=browser: the page cannot read texts as "
                         f"tokenizers.{trained.tokenizer.kind} does, only by "
                         f"{' and '.join(_TOKENIZERS)}.")
    steps = page.steps(trained.record(), server.image_shape)
    page.check(out)
    page.fetch()
    found = presets_lib.find(images, trained.evaluations, server.image_shape)
    pixels, found = _read(server, found)
    parts = _parts(server, bool(trained.tokenizer))
    inputs = {"image": pixels}
    if trained.tokenizer:
        inputs["text"] = tokens(trained.tokenizer, [one.text for one in found])
    files, made = _convert(server, parts, inputs, precisions, max_image_mb)
    known = {name: value.numpy() for name, value in parts["image"].call(
        tf.constant(pixels)).items()}
    info = {
        "name": name or trained.name.removesuffix(".npz"), "step": trained.step,
        "kind": "texts" if trained.tokenizer else "classes",
        "link": trained.link, "image_shape": list(server.image_shape),
        "max_pixels": max_pixels, "preprocessing": steps,
        "precisions": made, "max_image_mb": max_image_mb,
        "presets": _presets(found, known, files),
        "made_with": saved.facts(server),
    }
    if trained.tokenizer:
        info |= _about_texts(trained, found, texts, files)
    else:
        info["classes"] = list(trained.class_names)
    files["demo.json"] = json.dumps(info, ensure_ascii=False)
    return page.write(out, name=_plain(info["name"]), step=trained.step,
                      files=files), info


def cached(trained, settings):
    """The folder in the cache for a page of a model with these weights.

    Args:
      trained: a finished.Trained.
      settings: what else the page depends on, for JSON.
    """
    known = json.dumps([
        saved.fingerprint(trained.model.variables), trained.record(),
        list(trained.class_names), settings], sort_keys=True, default=str)
    digest = hashlib.sha256(known.encode()).hexdigest()
    return os.path.join(paths.cache(), "demo",
                        f"{_plain(trained.name)}-{digest[:16]}")


def _plain(name):
    """A model's name, as a folder has it."""
    return re.sub(r"[^\w.-]", "_", name.removesuffix(".npz"))


def _parts(server, has_texts):
    """{"image" and, perhaps, "text": convert.Part}."""
    if has_texts:
        return server.parts()
    return {"image": server.parts(rollout=server.has_attention)["model"]}


def _read(server, found):
    """(pixels [N, H, W, 3], presets) of the files that can be read."""
    pixels, error = server.preprocess(tf.constant([one.data for one in found]))
    sound = [not why for why in error.numpy()]
    for one, why in zip(found, error.numpy()):
        if why:
            logging.warning("--presets: %r is left out: %s", one.text,
                            why.decode())
    if not any(sound):
        raise ValueError("--presets: none of the images can be read.")
    return pixels.numpy()[sound], [one for one, is_sound in zip(
        found, sound) if is_sound]


def tokens(tokenizer, texts=()):
    """What text towers are compared on, int32 [N, max_len]."""
    some = sum(prompts.texts(_NAMES, prompts.clip_best[:3]), [])
    return tokenizer(tf.constant([*texts, *some])).numpy()


def _convert(server, parts, inputs, precisions, max_image_mb):
    """({name: bytes}, what demo.json says of them).

    A precision that is too far from the original is left out, unless there is
    no other.
    """
    files, made, why = {}, [], None
    for precision in precisions:
        said, data = {"name": precision}, {}
        try:
            for name, part in parts.items():
                size = _BYTES[precision] * _weights(server, name) / 1e6
                if name == "image" and size > max_image_mb:
                    logging.warning(
                        "The images' weights would be %.0f MB in %s, more than "
                        "--max_image_mb=%g: the page has the presets alone with "
                        "these.",
                        size, precision, max_image_mb)
                    continue
                if name == "text" and size > max_image_mb:
                    logging.warning("The texts' weights have %.0f MB in %s, which "
                                    "people wait for.", size, precision)
                file = f"{name}_{precision}.tflite"
                data[file], report = convert.convert(
                    part, formats.BROWSER[precision], inputs[name], batch=1,
                    min_same_class=_LEAST_SAME)
                said[name] = {"file": file, "bytes": len(data[file]), **report}
        except ValueError as error:
            logging.warning("%s is left out: %s", precision, error)
            why = error
            continue
        made.append(said)
        files.update(data)
    if not made:
        raise ValueError(f"No precision can be exported. {why}")
    return files, made


def _weights(server, part):
    """How many weights a part has."""
    prefix = {"image": "img/", "text": "txt/"}[part]
    own = [v for v in server.variables if v.name.startswith(prefix)]
    return sum(int(np.prod(v.shape)) for v in own or server.variables)


def _presets(found, known, files):
    """What demo.json says of the presets, whose files it adds."""
    files["presets.f32"] = _floats(next(iter(known.values())))
    said = {"values": "presets.f32", "images": []}
    if "rollout" in known:
        files["rollouts.f32"] = _floats(known["rollout"])
        said |= {"rollouts": "rollouts.f32",
                 "grid": list(known["rollout"].shape[1:])}
    for i, one in enumerate(found, 1):
        file = f"preset_{i}.{one.suffix}"
        files[file] = one.data
        said["images"].append({"file": file, "text": one.text})
    return said


def _floats(values):
    return values.astype("<f4").tobytes()


def _about_texts(trained, found, texts, files):
    """What demo.json says of a model of texts; adds the vocabulary."""
    model, tokenizer = trained.model, trained.tokenizer
    name = saved.vocabulary_name(tokenizer)
    files[name] = tokenizer.vocabulary
    own = next((settings["prompts"] for settings in trained.evaluations
                if not isinstance(settings.get("prompts", ""), str)), None)
    first = list(texts) or list(dict.fromkeys(
        one.text for one in found if one.text)) or ["a photo"]
    return {
        "temperature": float(model.temperature()), "bias": float(model.bias()),
        "tokenizer": {"kind": tokenizer.kind, "file": name,
                      "max_len": tokenizer.max_len},
        "templates": {**({"own": list(own)} if own else {}), **_TEMPLATES},
        "texts": first,
    }
