"""What the outputs of a finished model are called, and what they mean."""

import os

from absl import logging
import tensorflow as tf

from tfvit.data import class_names as class_names_lib
from tfvit.optimize import losses
from tfvit.weights import fetch
from tfvit.weights import hub
from tfvit.weights import hub_models
from tfvit.weights import load
from tfvit.weights import sidecar


def link(exp):
    """What makes probabilities of logits."""
    return losses.link(exp.loss)


def of_file(path, num_classes):
    """The names that belong to an `.npz` file, or None."""
    file, _ = load.split_subtree(path)
    if hub.is_theirs(file):
        return hub_models.class_names(file, num_classes)
    names = sidecar.read(file).get("class_names")
    if names is None and fetch.is_published(file):
        names = class_names_lib.published(num_classes)
    return names


def class_names(where, is_run, labels, num_classes):
    """The names of a model's classes; see finished.load.

    Raises:
      ValueError: there are not as many names as classes.
    """
    if labels:
        names = class_names_lib.read(labels)
        if len(names) != num_classes:
            raise ValueError(f"--labels={labels} names {len(names)} classes, "
                             f"the model has {num_classes}.")
        return names
    path = os.path.join(where, "labels.txt")
    if not is_run:
        path = sidecar.path_of(load.split_subtree(where)[0])
        names = of_file(where, num_classes)
    elif tf.io.gfile.exists(path):
        names = class_names_lib.read(path)
    else:
        names = None
    if names is None:
        logging.warning("%s has %d classes whose names are not known: they are "
                        "numbered. --labels=FILE names them, one a line (or "
                        "imagenet2012, imagenet21k).", where, num_classes)
        return class_names_lib.numbers(num_classes)
    if len(names) != num_classes:
        raise ValueError(f"{path} names {len(names)} classes, the model of "
                         f"{where} has {num_classes}: mend it, or set "
                         "--labels.")
    return names
