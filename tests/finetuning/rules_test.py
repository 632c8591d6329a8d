"""The numbers of the papers, copied by hand from their tables."""

import pytest

from tfvit.finetuning import rules


@pytest.mark.parametrize("images, batch_size, steps, warmup, lr", [
    # AugReg (arXiv 2106.10270): 500 updates on KITTI, Pets and VTAB, 2,500 on
    # CIFAR-100 and RESISC45, 20,000 on ImageNet, in batches of 512.
    # configs/augreg.py: learning rate 0.03, warm-up 100 of 500;
    # configs/common.py: 500 of 10,000 and 20,000. Smaller batches have smaller
    # rates, as the README of vision_transformer says: 0.03 * 8 / 512, ...
    (30, 8, 500, 100, 0.000469),
    (1_000, 64, 500, 100, 0.00375),
    (3_312, 256, 500, 100, 0.015),
    (50_000, 512, 2_500, 500, 0.03),
    (1_200_000, 512, 20_000, 500, 0.03),
])
def test_as_the_papers_for_so_many_images(images, batch_size, steps, warmup, lr):
    chosen = rules.settings(images)
    assert chosen[:4] == (batch_size, steps, warmup, lr)


def test_an_epoch_has_at_least_ten_updates():
    for images in (80, 300, 1_279, 5_119, 10**6):
        assert images // rules.settings(images).batch_size >= 10


def test_epochs_are_turned_into_steps():
    # 10 epochs of 1,000 images in batches of 50 are 200 updates.
    chosen = rules.settings(1_000, epochs=10, batch_size=50)
    assert chosen[:3] == (50, 200, 40)
    assert rules.settings(3, epochs=1)[:3] == (8, 1, 0)


def test_a_linear_probe_learns_at_the_rate_of_simclr():
    # arXiv 2002.05709, B.6: 0.1 * 4096 / 256 = 1.6 for batches of 4,096.
    assert rules.settings(10**6, linear_probe=True, batch_size=4096).lr == 1.6


def test_from_scratch_a_run_is_long():
    # "Better plain ViT baselines": 90 epochs, learning rate 1e-3.
    chosen = rules.settings(1_281_167, scratch=True, batch_size=1_024)
    assert chosen.total_steps == round(90 * 1_281_167 / 1_024)
    assert chosen.lr == 1e-3 and chosen.warmup_steps == 10_000
    assert rules.settings(100, scratch=True)[1:3] == (1_500, 150)


def test_what_the_user_says_counts():
    chosen = rules.settings(100, batch_size=6, lr=0.5, replicas=2)
    assert (chosen.batch_size, chosen.lr) == (6, 0.5)
    assert chosen.why["lr"] == "--lr"


def test_a_batch_is_a_multiple_of_the_replicas():
    assert rules.settings(100, replicas=3).batch_size == 9
    with pytest.raises(ValueError, match="--batch_size=4 .* 3 replicas"):
        rules.settings(100, batch_size=4, replicas=3)


def test_a_batch_of_far_more_than_all_images_is_refused():
    assert rules.settings(40, batch_size=64).batch_size == 64
    with pytest.raises(ValueError, match="=5000 is more than the 40 images"):
        rules.settings(40, batch_size=5_000)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "lr"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_what_is_no_number_of_that_kind_is_refused(name, value):
    with pytest.raises(ValueError, match=f"--{name}="):
        rules.settings(100, **{name: value})


def test_the_grid_is_the_papers_at_their_batch():
    paper = (0.001, 0.003, 0.01, 0.03)
    assert rules.grid(rules.settings(50_000), paper) == list(paper)
    small = rules.settings(1_000)  # 64 = 512 / 8.
    assert rules.grid(small, paper) == [0.000125, 0.000375, 0.00125, 0.00375]
    probe = rules.settings(50_000, linear_probe=True)
    assert probe.lr in rules.grid(probe, paper, linear_probe=True)


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 33, 500, 1_500, 2_500, 20_000,
                                   112_604])
def test_cadences_fit_each_other_and_the_run(steps):
    log, evaluate = rules.cadences(steps, epoch=0.5)
    assert evaluate % log == 0 and 1 <= log <= 50
    assert min(steps, 10) <= -(-steps // evaluate) <= 25


@pytest.mark.parametrize("steps, epoch, expected", [
    (7, 6.75, (1, 7)), (27, 13.6, (2, 14)), (100, 41, (5, 45)),
    (500, 15.6, (25, 50)), (20_000, 2502.2, (50, 2550)),
    (2_500, 97.6, (50, 200))])
def test_an_epoch_has_at_most_one_evaluation(steps, epoch, expected):
    assert rules.cadences(steps, epoch) == expected
