"""Slices by their names, held against Google Cloud's tables."""

import pytest

from tfvit.tpu import chips


@pytest.mark.parametrize("text, name, replicas", [
    # cloud.google.com/tpu/docs/v4, v5e, v5p, v6e: types and their topologies.
    ("v4-8", "v4:2x2x1", 4), ("v4-16", "v4:2x2x2", 8),
    ("v4-32", "v4:2x2x4", 16), ("v4-64", "v4:2x4x4", 32),
    ("v4-128", "v4:4x4x4", 64), ("v4-256", "v4:4x4x8", 128),
    ("v4-512", "v4:4x8x8", 256), ("v5e-1", "v5e:1x1", 1),
    ("v5e-4", "v5e:2x2", 4), ("v5e-8", "v5e:2x4", 8),
    ("v5litepod-16", "v5e:4x4", 16), ("v5e-32", "v5e:4x8", 32),
    ("v5e-256", "v5e:16x16", 256), ("v5p-8", "v5p:2x2x1", 4),
    ("v5p-64", "v5p:2x4x4", 32), ("v6e-8", "v6e:2x4", 8),
    ("v3-8", "v3:2x2", 8), ("v3-32", "v3:4x4", 32),
    ("V5E:2x4", "v5e:2x4", 8), ("v4:2x4x8", "v4:2x4x8", 64),
    ("v5e:1x1", "v5e:1x1", 1), ("v4:2x2x3", "v4:2x2x3", 12),
])
def test_names(text, name, replicas):
    found = chips.named(text)
    assert (found.name, found.replicas) == (name, replicas)


@pytest.mark.parametrize("text, said", [
    ("v9-8", "one of v3, v4, v5e, v5p, v6e"), ("v4-7", "7 cores"),
    ("v5e-3", "3 chips are no slice"), ("v5e-0", "0 chips"),
    ("v5e:8", "2 dimensions, such as v5e:2x4"),
    ("v4:2x2", "3 dimensions, such as v4:2x2x2"), ("v5e:2x", "2 dimensions"),
    ("v5e:3x5", "hosts of 2x2"), ("v5e:1x2", "hosts of 2x2"),
    ("v4:1x2x4", "hosts of 2x2"), ("v5e:32x32", "has 256 chips"),
    ("v5e-1024", "has 256 chips"), ("v4-16384", "has 4,096 chips"),
    ("v5e:0x4", "2 dimensions"), ("v5e", "is no slice"), ("", "is no slice"),
    ("h100:8", "is no slice")])
def test_what_is_no_slice(text, said):
    with pytest.raises(ValueError, match=f"{text}.*{said}"):
        chips.named(text)
