"""TensorFlow Serving's configuration files, as text protocol buffers.

The messages are declared here, with the names and numbers of TensorFlow
Serving's own (model_server_config.proto, session_bundle_config.proto,
prediction_log.proto): tensorflow-serving-api does not carry all of them, and is
large. Of each, what `tfvit serve` knows; a field that it does not is refused.
"""

import dataclasses
import os
import re

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2
from tensorflow.core.framework import tensor_pb2

_PACKAGE = "tfvit.server"
_TYPES = {"int64": 3, "bool": 8, "string": 9}  # FieldDescriptorProto.Type
# {message: {field: (number, type, repeated)}}.
_MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": (1, "google.protobuf.Int64Value", False),
        "batch_timeout_micros": (2, "google.protobuf.Int64Value", False),
        "max_enqueued_batches": (3, "google.protobuf.Int64Value", False),
        "num_batch_threads": (4, "google.protobuf.Int64Value", False),
        "allowed_batch_sizes": (6, "int64", True),
        "enable_large_batch_splitting": (8, "google.protobuf.BoolValue", False),
        "max_execution_batch_size": (9, "google.protobuf.Int64Value", False),
    },
    "Latest": {"num_versions": (1, "int64", False)},
    "All": {},
    "Specific": {"versions": (1, "int64", True)},
    "VersionPolicy": {"latest": (100, "Latest", False),
                      "all": (101, "All", False),
                      "specific": (102, "Specific", False)},
    "Label": {"key": (1, "string", False), "value": (2, "int64", False)},
    "ModelConfig": {
        "name": (1, "string", False),
        "base_path": (2, "string", False),
        "model_platform": (4, "string", False),
        "model_version_policy": (7, "VersionPolicy", False),
        "version_labels": (8, "Label", True),
    },
    "ModelConfigList": {"config": (1, "ModelConfig", True)},
    "ModelServerConfig": {"model_config_list": (1, "ModelConfigList", False)},
    "ModelSpec": {"signature_name": (3, "string", False)},
    "Input": {"key": (1, "string", False),
              "value": (2, "tensorflow.TensorProto", False)},
    "PredictRequest": {"model_spec": (1, "ModelSpec", False),
                       "inputs": (2, "Input", True)},
    "PredictLog": {"request": (1, "PredictRequest", False)},
    "PredictionLog": {"predict_log": (6, "PredictLog", False)},
}
# As TensorFlow Serving checks them: they are parts of addresses.
_NAME = re.compile(r"[^/:\s]+")


def _declare():
    """{name: class} of the messages."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tfvit/server/configs.proto", package=_PACKAGE, syntax="proto2",
        dependency=[wrappers_pb2.DESCRIPTOR.name, tensor_pb2.DESCRIPTOR.name])
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            added = message.field.add(name=field, number=number,
                                      label=3 if repeated else 1)
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                full = kind if "." in kind else f"{_PACKAGE}.{kind}"
                added.type, added.type_name = 11, f".{full}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_CLASS = _declare()
PredictionLog = _CLASS["PredictionLog"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests become batches; sizes are numbers of rows.

    Attributes:
      max_batch_size: of a request.
      max_execution_batch_size: of a batch; smaller than the above only where
        large requests are split.
      batch_timeout: seconds that a request waits for others.
      max_enqueued_batches: that wait; who comes then is refused.
      num_batch_threads: batches computed at the same time.
      allowed_batch_sizes: increasing; batches are padded to the next. () for
        any.
      split: whether large requests are split.

    Raises:
      ValueError: they contradict each other.
    """
    # Defaults are TensorFlow Serving's.
    max_batch_size: int = 1000
    max_execution_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple = ()
    split: bool = False

    def __post_init__(self):
        for name in ("max_batch_size", "max_execution_batch_size",
                     "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not "
                                 f"{getattr(self, name)}.")
        if self.max_execution_batch_size > self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size = {self.max_execution_batch_size} "
                f"must not be larger than max_batch_size = "
                f"{self.max_batch_size}.")
        sizes = list(self.allowed_batch_sizes)
        if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or
                      sizes[-1] != self.max_execution_batch_size):
            last = "max_execution_batch_size" if self.split else (
                "max_batch_size")
            raise ValueError(
                f"allowed_batch_sizes = {sizes} must increase, and end with "
                f"{last} = {self.max_execution_batch_size}.")


def batching(text, file):
    """Batching of the text of a --batching_parameters_file.

    Raises:
      ValueError: says what is wrong with it.
    """
    message = _parse("BatchingParameters", text, file)
    values = {}
    for field in _MESSAGES["BatchingParameters"]:
        if field != "allowed_batch_sizes" and message.HasField(field):
            values[field] = getattr(message, field).value
    values["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    values["split"] = values.pop("enable_large_batch_splitting", False)
    if "batch_timeout_micros" in values:
        values["batch_timeout"] = values.pop("batch_timeout_micros") / 1e6
    largest = values.setdefault("max_batch_size", Batching.max_batch_size)
    if not values["split"]:
        values["max_execution_batch_size"] = largest
    values.setdefault("max_execution_batch_size", largest)
    try:
        return Batching(**values)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One model to serve.

    Attributes:
      name: part of its address.
      base_path: folder of its versions.
      latest: how many of the newest versions to serve; 0 for all.
      versions: numbers of these alone; () for `latest`.
      labels: {label: version}.

    Raises:
      ValueError: the name cannot be one.
    """
    name: str
    base_path: str
    latest: int = 1
    versions: tuple = ()
    labels: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in (self.name, *self.labels):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a model or a "
                                 "label: it must not be empty, nor have /, : "
                                 "or spaces.")

    def wanted(self, there):
        """Which of the versions that are there to serve, sorted."""
        if self.versions:
            return sorted(set(self.versions) & set(there))
        return sorted(there)[-self.latest:]


def models(text, file):
    """[Model] of the text of a --model_config_file.

    Raises:
      ValueError: says what is wrong with it.
    """
    message = _parse("ModelServerConfig", text, file)
    found = []
    for config in message.model_config_list.config:
        policy = config.model_version_policy
        if config.model_platform not in ("", "tensorflow"):
            raise ValueError(f"{file}: model_platform "
                             f"{config.model_platform!r} is not tensorflow.")
        if not config.base_path:
            raise ValueError(f"{file}: {config.name!r} has no base_path.")
        latest = max(1, policy.latest.num_versions)
        try:
            found.append(Model(
                name=config.name, base_path=config.base_path,
                latest=0 if policy.HasField("all") else latest,
                versions=tuple(policy.specific.versions),
                labels={label.key: label.value
                        for label in config.version_labels}))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    names = [model.name for model in found]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{file} must name models, each once, but names "
                         f"{names}.")
    return found


def _parse(name, text, file):
    try:
        return text_format.Parse(text, _CLASS[name]())
    except text_format.ParseError as error:
        raise ValueError(f"{file} is not a {name} of TensorFlow Serving that "
                         f"can be read: {error}") from error
