"""The files of tools/serving: by the schemas of who reads them."""

import configparser
import json
import pathlib
import re

import pytest
import yaml

from tfvit import config
from tfvit import export
from tfvit.server import configs
from tfvit.serving import howto

ROOT = pathlib.Path(config.ROOT)
FOLDER = ROOT / "tools" / "serving"
MANIFESTS = ["kubernetes.yaml", "kubernetes_gpu.yaml"]


def read(name):
    return (FOLDER / name).read_text()


def documents(name):
    return list(yaml.safe_load_all(read(name)))


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_those_of_kubernetes(name):
    validate = pytest.importorskip("kubernetes_validate")
    for document in documents(name):
        for version in ("1.30", "1.34"):
            validate.validate(document, version, strict=True)


def test_a_wrong_manifest_would_be_found():
    validate = pytest.importorskip("kubernetes_validate")
    document = documents("kubernetes.yaml")[0]
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(document, "1.34", strict=True)


def test_compose_is_of_its_specification():
    check_jsonschema = pytest.importorskip("check_jsonschema")
    import jsonschema
    folder = pathlib.Path(check_jsonschema.__file__).parent
    schema = json.loads((folder / "builtin_schemas" / "vendor" /
                         "compose-spec.json").read_text())
    compose = documents("compose.yaml")[0]
    jsonschema.validate(compose, schema)
    compose["services"]["serving"]["port"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose, schema)


def test_pods_are_asked_for_what_they_serve_where_they_serve_it():
    for name in MANIFESTS:
        deployment, *others = documents(name)
        pod = deployment["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        model = container["env"][0]["value"]
        ports = {port["name"]: port["containerPort"]
                 for port in container["ports"]}
        assert ports == {"grpc": 8500, "rest": 8501}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            assert get["path"].startswith(f"/v1/models/{model}")
            assert get["port"] == "rest"
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        labels = pod["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        for other in others:
            selector = other["spec"].get("selector", labels)
            assert selector.get("matchLabels", selector) == labels


def test_all_images_are_of_one_release_that_goes_with_our_tensorflow():
    texts = {path.name: path.read_text() for path in FOLDER.iterdir()}
    tags = {name: set(re.findall(r"tensorflow/serving:(\d[\w.]*)", text))
            for name, text in texts.items()}
    assert {tag for found in tags.values() for tag in found} == {
        howto.IMAGE.split(":")[1]}
    assert f"ARG TAG={howto.IMAGE.split(':')[1]}\n" in texts["Dockerfile"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = re.search(r"tensorflow>=(\d+\.\d+),",
                       setup["options"]["install_requires"])[1]
    assert howto.IMAGE.split(":")[1].startswith(f"{needed}.")
    for text in texts.values():
        assert not re.search(r"image: \S+(:latest)?$", re.sub(
            r"image: \S+:v?\d\S*$", "", text, flags=re.M), re.M)


def test_batching_is_what_an_export_prints():
    assert read("batching.txt") == howto.batching(export._WARMUP.default)
    assert configs.batching(read("batching.txt"), "batching.txt").split


def test_the_labels_name_versions_that_are_served():
    (model,) = configs.models(read("models.config"), "models.config")
    assert set(model.labels) == {"stable", "canary"}
    assert set(model.labels.values()) <= set(model.versions)


def test_the_metrics_are_looked_for_where_they_are():
    path = re.search(r'path: "(.*)"', read("monitoring.config"))[1]
    (scrape,) = documents("prometheus.yaml")[0]["scrape_configs"]
    assert scrape["metrics_path"] == path
    assert scrape["static_configs"][0]["targets"] == ["serving:8501"]
    assert set(documents("compose.yaml")[0]["services"]) >= {"serving"}
    for name in MANIFESTS:
        metadata = documents(name)[0]["spec"]["template"]["metadata"]
        assert metadata["annotations"]["prometheus.io/path"] == path


def test_what_the_files_name_is_there():
    for path in re.findall(r"^COPY (.*) \S+$", read("Dockerfile"), re.M):
        for source in path.split():
            if not source.startswith("exports/"):  # Made by the user.
                assert (ROOT / source).is_file()
    for volume in documents("compose.yaml")[0]["services"]["serving"][
            "volumes"][1:]:
        assert (FOLDER / volume.split(":")[0]).is_file()
