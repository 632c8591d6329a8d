"""What an export prints is accepted by what it names."""

import json
import shlex

import pytest

from tfvit.server import configs
from tfvit.serving import howto

CLASSIFIER = {
    "attention": ["image_bytes"], "features": ["image_bytes"],
    "serving_default": ["image_bytes"], "uint8_images": ["images"],
    "images": ["images"]}
LIT = {
    "embed_images": ["image_bytes"], "embed_texts": ["texts"],
    "zeroshot": ["image_bytes", "texts"],
    "zeroshot_embedded": ["image_bytes", "text_embeddings"]}


def described(signatures):
    """As export.json has them."""
    return {name: {"inputs": dict.fromkeys(inputs, "string [B]")}
            for name, inputs in signatures.items()}


@pytest.fixture
def printed(tmp_path):

    def text(signatures, sizes=(1, 2, 4, 8), name="b16", out="out", **record):
        folder = tmp_path / out / "7"
        (folder / "assets").mkdir(parents=True)
        (folder / "assets" / "export.json").write_text(json.dumps(
            {"signatures": described(signatures), **record}))
        return howto.text(str(folder), name, sizes)

    return text


def commands(text):
    """[[word, ...]] of the commands in a text."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines
            if line.startswith(("docker run", "tfvit "))]


def batching_file(text):
    """The text of batching.txt in it, "" if there is none."""
    lines = [line for line in text.splitlines()
             if line.startswith(("max_", "enable_", "batch_timeout", "num_",
                                 "allowed_"))]
    return "\n".join(lines)


def test_the_printed_client_fits_the_printed_batching(printed):
    text = printed(CLASSIFIER, sizes=[8, 1, 8])
    batches = configs.batching(batching_file(text), "batching.txt")
    assert batches.allowed_batch_sizes == (1, 8)
    assert batches.split and batches.max_batch_size == 128
    docker, serve, client = commands(text)
    assert docker[-3:] == [howto.IMAGE, "--enable_batching",
                           "--batching_parameters_file=/batching.txt"]
    assert serve[3:] == ["--name=b16", "--enable_batching",
                         "--batching_parameters_file=batching.txt"]
    assert client == ["tfvit", "serve_client", "--model=b16", "IMAGE..."]
    assert "uint8_images must send one size" in text
    assert "xla" not in text.lower()


def test_a_batch_larger_than_any_request_is_allowed(printed):
    batches = configs.batching(batching_file(printed(CLASSIFIER, [256])), "b")
    assert batches.max_batch_size == batches.max_execution_batch_size == 256
    assert configs.batching(batching_file(printed(CLASSIFIER, [], out="2")),
                            "b").allowed_batch_sizes == (8,)


def test_texts_are_served_without_batching_and_asked_for_by_their_signature(
        printed):
    text = printed(LIT)
    docker, serve, client = commands(text)
    assert not batching_file(text)
    assert docker[-1] == howto.IMAGE and serve[-1] == "--name=b16"
    assert client[3:] == ["--signature=zeroshot", "--texts=a cat",
                          "--texts=a dog", "IMAGE..."]
    assert "would mix the texts of two clients" in text


@pytest.mark.parametrize("names, words", [
    (["features", "attention"], ["--signature=features", "IMAGE..."]),
    (["attention"], ["--signature=attention", "IMAGE..."]),
    (["embed_images", "embed_texts"], ["--signature=embed_images", "IMAGE..."]),
    (["embed_texts"], ["--signature=embed_texts", "--texts=a cat",
                       "--texts=a dog"]),
])
def test_what_is_asked_is_what_there_is_and_can_be_batched(printed, names,
                                                           words):
    text = printed({name: (CLASSIFIER | LIT)[name] for name in names})
    assert commands(text)[2][3:] == words
    assert batching_file(text)


def test_an_export_that_takes_arrays_alone_says_so(printed):
    text = printed({"images": ["images"]})
    assert len(commands(text)) == 2 and "assets/README.md" in text


def test_xla_says_what_the_server_needs(printed):
    text = printed(CLASSIFIER, jit=True)
    docker, serve, _ = commands(text)
    assert docker[-1] == "--xla_cpu_compilation_enabled=true"
    assert not any(word.startswith("--xla") for word in serve)
    assert "no XLA compiler for GPUs" in text


def test_a_bucket_is_read_as_it_is_rather_than_mounted(monkeypatch):
    monkeypatch.setattr(howto, "_record",
                        lambda version: {"signatures": described(LIT)})
    docker, serve, _ = commands(howto.text("gs://bucket/b16/7", "b", [1]))
    assert not any(word == "-v" for word in docker)
    assert docker[-1] == "--model_base_path=gs://bucket/b16"
    assert serve[2] == "gs://bucket/b16"


def test_folders_and_names_of_any_letters_are_quoted(printed, tmp_path):
    docker, serve, client = commands(printed(CLASSIFIER, name="my$model",
                                             out="my exports"))
    folder = str(tmp_path / "my exports")
    assert f"{folder}:/models/my$model" in docker and folder in serve
    assert "--name=my$model" in serve and "--model=my$model" in client
