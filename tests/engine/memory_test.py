"""What a run says when a device has too little memory."""

import dataclasses

import pytest
import tensorflow as tf

from tests import toy
from tfvit import trainer


def test_out_of_memory_names_the_knobs(tmp_path, monkeypatch):

    def run(*_):
        raise tf.errors.ResourceExhaustedError(
            None, None, "OOM when allocating tensor with shape[512,197,768]\n"
            "and much more")

    monkeypatch.setattr(trainer.loop, "run", run)
    with pytest.raises(MemoryError) as caught:
        trainer.train(dataclasses.replace(toy.EXPERIMENT, accum_steps=2),
                      tmp_path)
    said = str(caught.value)
    assert "shape[512,197,768]" in said and "and much more" not in said
    for knob in ("vit.vit.remat", "accum_steps, now 2", "'mixed_bfloat16'",
                 "batch_size, now 4", "image size", "--dry_run"):
        assert knob in said
