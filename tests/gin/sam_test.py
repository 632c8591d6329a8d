"""The sharpness-aware runs hold the numbers of arXiv 2203.08065."""

import gin
import pytest

from tfvit import config

# Table 4: rho_max, rho_min and alpha of GSAM. Table 1: top-1 accuracy on
# ImageNet-1k of AdamW, SAM and GSAM.
ROWS = {
    "s32": (0.6, 0.0, 0.4, "0.684", "0.705", "0.738"),
    "s16": (0.6, 0.0, 1.0, "0.744", "0.781", "0.795"),
    "b32": (0.6, 0.1, 0.6, "0.714", "0.736", "0.768"),
    "b16": (0.6, 0.2, 0.4, "0.746", "0.799", "0.810"),
    "mixer_s32": (0.5, 0.0, 0.2, "0.639", "0.667", "0.686"),
    "mixer_s16": (0.5, 0.0, 0.6, "0.688", "0.729", "0.750"),
    "mixer_s8": (0.5, 0.1, 0.1, "0.702", "0.759", "0.768"),
    "mixer_b32": (0.7, 0.2, 0.05, "0.625", "0.724", "0.736"),
    "mixer_b16": (0.5, 0.2, 0.01, "0.664", "0.774", "0.778"),
}


@pytest.mark.parametrize("method", ["sam", "gsam"])
@pytest.mark.parametrize("model", ROWS)
def test_every_row_of_the_tables_has_its_run(model, method):
    rho_max, rho_min, alpha, *accuracies = ROWS[model]
    file = f"gin/{method}_{model}_imagenet2012.gin"
    config.parse([file])
    expected = {
        "experiment.Experiment.batch_size": 4096,
        "experiment.Experiment.total_steps": 300 * 1_268_355 // 4096,
        "optim.adamw.lr": 3e-3,
        "optim.adamw.weight_decay": 0.3,
        "schedules.linear.warmup_steps": 10_000,
        "schedules.linear.end": 3e-5,
    }
    if method == "gsam":
        expected |= {"gradients.gsam.rho_max": rho_max,
                     "gradients.gsam.rho_min": rho_min,
                     "gradients.gsam.alpha": alpha,
                     "gradients.gsam.lr_max": 3e-3,
                     "gradients.gsam.lr_min": 3e-5}
    for name, value in expected.items():
        bound = gin.query_parameter(name)
        if isinstance(bound, gin.config.ConfigurableReference):
            bound = bound.scoped_configurable_fn()  # A macro.
        assert bound == value, name
    used = gin.query_parameter("experiment.Experiment.gradients")
    assert used.selector.endswith(f"gradients.{method}")
    with open(f"{config.ROOT}/{file}", encoding="utf-8") as f:
        header = f.read().split("include")[0]
    own = accuracies[["adamw", "sam", "gsam"].index(method)]
    assert f"test/accuracy {own}" in header
    assert all(accuracy in header for accuracy in accuracies)


@pytest.mark.parametrize("file, path", [
    ("b16_sam_cifar10", "sam/ViT-B_16"),
    ("b16_gsam_cifar10", "gsam/ViT-B_16"),
    ("mixer_b16_sam_cifar10", "sam/Mixer-B_16"),
    ("mixer_b16_gsam_cifar10", "gsam/Mixer-B_16"),
])
def test_fine_tuning_starts_from_the_published_files(file, path):
    config.parse([f"gin/{file}.gin"])
    assert gin.query_parameter("load.from_npz.path") == path
    if file == "b16_gsam_cifar10":
        assert gin.query_parameter("vit.vit.classifier") == "gap"
