"""tfvit demo: which folder it serves, and what it says."""

import os
import pathlib
import socket

from absl import app
from absl.testing import flagsaver
import pytest
import tensorflow as tf

from tests.inference import browser_test
from tfvit import demo
from tfvit.inference import browser
from tfvit.inference import finished
from tfvit.server import static
from tfvit.serving import page


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serves models of the tests: () -> the folder; and what was exported."""
    model, exported, folders = browser_test.classes_model(), [], []
    made = static.Server

    def export(trained, folder, **settings):
        exported.append((trained.name, settings))
        pathlib.Path(folder).mkdir(parents=True)
        pathlib.Path(folder, "models.json").write_text("{}")

    def server(folder, *, host, port):
        folders.append((folder, host, port))
        return made(folder, host=host, port=port)

    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(finished, "load", lambda *_, **__: model)
    monkeypatch.setattr(browser, "export", export)
    monkeypatch.setattr(page, "refresh", lambda folder: None)
    monkeypatch.setattr(static, "Server", server)
    monkeypatch.setattr(made, "serve_forever", lambda self: self.server_close())

    def call(*words, **flags):
        with flagsaver.flagsaver(**{"port": 0, **flags}):
            demo.flags.FLAGS.mark_as_parsed()
            demo.main(words)
        return folders[-1][0]

    call.model, call.exported = model, exported
    return call


def test_a_page_is_made_once_for_the_weights(served, capsys):
    first = served(model="runs/toy")
    assert served(model="runs/toy") == first and len(served.exported) == 1
    assert capsys.readouterr().out.startswith("Open http://127.0.0.1:")
    weights = served.model.model.weights[0]  # The run trained on.
    weights.assign_add(tf.ones_like(weights))
    assert served(model="runs/toy") != first and len(served.exported) == 2
    assert served.exported[-1] == ("toy", {
        "precisions": ["float32", "float16", "int8"], "images": [], "texts": []})
    assert os.path.isdir(first)


def test_a_port_that_is_taken_is_said(served, tmp_path):
    (tmp_path / "models.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"--port={port}: .*in use.*--port=0 "
                           "takes any that is free"):
            served(str(tmp_path), port=port)
    assert served(str(tmp_path)) == str(tmp_path)


def test_one_model_or_folder_is_said(served):
    for words, flags in (((), {}), (("demo", "b"), {}),
                         (("demo",), {"model": "runs/toy"})):
        with pytest.raises(app.UsageError, match="and no more"):
            served(*words, **flags)
