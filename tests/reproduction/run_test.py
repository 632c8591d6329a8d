"""The ledger run whole: planted accuracies, a server in the buckets' place."""

import html.parser
import http.server
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
import tensorflow as tf

from tests import local_server
from tests.data.datasets import fake_tfds
from tfvit import config
from tfvit.inference import published_run
from tfvit.models import vit
from tfvit.reproduction import commands
from tfvit.reproduction import ledger
from tfvit.reproduction import measure
from tfvit.reproduction import pages
from tfvit.reproduction import records
from tfvit.reproduction import run
from tfvit.weights import fetch
from tfvit.weights import load
from tfvit.weights import transfer

EXAMPLES = 40
FAVOURITE = 3  # The class that the planted model sees everywhere.
OTHER = {"id": "other", "expected": 0.5}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of a folder; what is not there is 404."""

    def do_GET(self):
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *unused_args):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Plays the buckets: a ViT-Ti/16 for 32 px that always says class 3."""
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "vit_models/sam").mkdir(parents=True)
    with tf.device("CPU:0"):
        model = vit.vit(num_classes=10, image_size=32, patch_size=16,
                        width=192, depth=12, num_heads=3, mlp_dim=768)
    for variable in model.weights:
        if variable.name.startswith("head/bias"):
            variable.assign(np.eye(10)[FAVOURITE].astype(np.float32))
    load.to_npz(model, str(folder / "vit_models/sam/ViT-B_16.npz"))
    with local_server.answering(Handler) as server:
        server.folder = folder
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """CIFAR-10 of 40 test images, of which a tenth is of each class."""
    folder = tmp_path_factory.mktemp("tfds")
    fake_tfds.write_cifar10(folder, 10, EXAMPLES)
    return str(folder)


@pytest.fixture
def cached(monkeypatch, tmp_path, server):
    monkeypatch.setattr(fetch, "_STORAGE", server.url)
    monkeypatch.setattr(transfer, "_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))


def own_ledger(path, checkpoint="sam/ViT-B_16"):
    """Writes a ledger with a right row, a wrong one and two that lack things.
    """
    cifar = {"task": "classification", "gin": "gin/data/cifar10.gin",
             "evaluator": "test", "scope": "test", "dataset": "cifar10",
             "split": "test", "examples": EXAMPLES, "classes": 10}
    right = {"id": "right", "checkpoint": checkpoint, "data": "cifar10",
             "image_size": 32, "metric": "accuracy", "expected": 0.1,
             "tolerance": 0.001, "source": "me"}
    path.write_text(json.dumps({
        "sources": {"me": {"title": "<b>planted</b>", "url": "http://x"}},
        "data": {"cifar10": cifar,
                 "none": {**cifar, "gin": "gin/data/oxford_iiit_pet.gin",
                          "dataset": "oxford_iiit_pet"}},
        "rows": [right, {**right, **OTHER},
                 {**right, "id": "no_file",
                  "checkpoint": "imagenet21k/ViT-B_77"},
                 {**right, "id": "no_data", "data": "none"}]}))
    ledger.read.cache_clear()
    return ledger.rows(str(path))


def lines(out):
    return [json.loads(line) for line in
            (out / "reproduce.jsonl").read_text().splitlines()]


@pytest.fixture
def offline(monkeypatch):
    """What TFDS would download is not there."""
    from tfvit.data.datasets import builders

    def no_network(infos):
        raise OSError("no network")

    monkeypatch.setattr(builders, "_check_network", no_network)


@pytest.fixture
def go(tmp_path, data, offline):
    """Runs rows in this process; says which were evaluated."""
    asked = []

    def evaluate(row, options):
        asked.append(row.id)
        return measure.here(row, options)

    def go(rows, chosen=None, **options):
        asked.clear()
        run.go(rows, chosen or rows, str(tmp_path / "out"),
               {"data_dir": data, "bindings": [
                   "classification.Classification.batch_size = 8"], **options},
               evaluate=evaluate)
        return list(asked)

    return go


@pytest.mark.slow
def test_right_wrong_and_missing_rows_have_their_verdicts(cached, go,
                                                          tmp_path):
    out = tmp_path / "out"
    rows = own_ledger(tmp_path / "own.json")
    # The wrong row is of the same evaluation as the right one.
    assert go(rows) == ["right", "no_file", "no_data"]
    found = {line["id"]: line for line in lines(out)}
    assert {name: line["verdict"] for name, line in found.items()} == {
        "right": "reproduced", "other": "differs",
        "no_file": "missing weights", "no_data": "missing data"}
    assert found["right"]["measured"] == pytest.approx(0.1)
    assert found["right"]["examples"] == EXAMPLES
    assert [found["right"][key] for key in ("low", "high")] == pytest.approx(
        stats.binomtest(4, 40).proportion_ci(method="wilson"), abs=1e-5)
    assert found["other"]["difference"] == pytest.approx(-0.4)
    assert "ViT-B_77.npz does not exist" in found["no_file"]["why"]
    assert "'oxford_iiit_pet' is not in" in found["no_data"]["why"]

    # Again: nothing that is done; what was missing is tried.
    assert go(rows) == ["no_file", "no_data"]
    check_pages(out, rows)


def check_pages(out, rows):
    page = (out / "reproduce.html").read_text()
    assert "<b>planted" not in page and "&lt;b&gt;planted" in page

    class Cells(html.parser.HTMLParser):
        count = 0
        depth = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                self.depth.append(tag)
            self.count += tag == "td"

        def handle_endtag(self, tag):
            if tag != "html" and self.depth[-1] != tag:
                assert self.depth[-1] == "html"
            self.depth.pop()

    cells = Cells()
    cells.feed(page)
    columns = len(pages._COLUMNS)
    assert cells.count == columns * len(rows)
    text = (out / "reproduce.md").read_text().splitlines()
    table = [line for line in text if line.startswith("| ")]
    assert len(table) == len(rows) + 1  # The heading.
    assert {line.count(" | ") for line in table} == {columns - 1}


def test_what_a_killed_process_left_of_a_line_is_no_record(tmp_path):
    path = str(tmp_path / "reproduce.jsonl")
    record = {"id": "a", "metric": "accuracy", "expected": 0.5,
              "tolerance": 0.1, "verdict": "failed", "command": "tfvit"}
    records.append(path, record)
    with open(path, "a", encoding="utf-8") as f:
        f.write('{"id": "b", "n"')
    assert records.read(path) == {"a": record}
    records.append(path, {**record, "id": "c"})
    assert list(records.read(path)) == ["a", "c"]
    with open(path, "a", encoding="utf-8") as f:
        f.write("nonsense\n")
    with pytest.raises(ValueError, match="line 3, is no record"):
        records.read(path)


def test_a_row_that_fails_ends_no_other(go, tmp_path, monkeypatch):
    rows = own_ledger(tmp_path / "own.json")[:2]

    def crash(*args):
        raise MemoryError("Too small.")

    monkeypatch.setattr(published_run, "of", crash)
    assert go(rows) == ["right", "other"]
    assert [(line["verdict"], line["why"]) for line in lines(
        tmp_path / "out")] == [("failed", "Too small.")] * 2


def test_a_checkpoint_needs_data_and_a_split_that_there_is(cached):
    with pytest.raises(ValueError, match="say what to evaluate on"):
        published_run.of("sam/ViT-B_16")
    with pytest.raises(ValueError, match="--split=tset is no evaluator"):
        published_run.of("sam/ViT-B_16", (["gin/data/cifar10.gin"], []),
                         ["tset"])
    with pytest.raises(ValueError, match="a run's has --workdir=/"):
        published_run.of("/", (["gin/data/cifar10.gin"], []))


@pytest.mark.slow
def test_killed_and_resumed(cached, server, data, tmp_path):
    url = f"{server.url}/vit_models/sam/ViT-B_16.npz"
    rows = own_ledger(tmp_path / "own.json", url)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tfvit.reproduce", f"--out={out}",
               f"--ledger={tmp_path}/own.json", f"--data_dir={data}",
               "--only=right,other,no_file"]
    process = subprocess.Popen(command, cwd=config.ROOT)
    while not (out / "reproduce.jsonl").exists():
        with pytest.raises(subprocess.TimeoutExpired):  # It goes on.
            process.wait(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = lines(out)[0]
    assert (first["id"], first["verdict"]) == ("right", "reproduced")
    done = subprocess.run(command, cwd=config.ROOT, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1
    assert "1/3 right: done, reproduced." in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "Error: 1 of 3 rows could not be measured")
    assert "Traceback" not in done.stderr
    assert {line["id"]: line["verdict"] for line in lines(out)} == {
        "right": "reproduced", "other": "differs", "no_file": "missing weights"}
    assert [line["id"] for line in lines(out)].count("right") == 1
    # The row's own command does the same, here for a part of the split.
    command = commands.words(rows[0], str(out), data_dir=data, images=10)
    said = subprocess.run([sys.executable, "-m", *command], cwd=config.ROOT,
                          check=True, stdout=subprocess.PIPE, text=True)
    values = json.loads(said.stdout.splitlines()[-1])
    assert (values["step"], values["test/examples"]) == (0, 10)
    assert values["test/accuracy"] == pytest.approx(0.1)
