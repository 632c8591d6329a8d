"""Decoding a part of a JPEG against decoding all of it."""
import functools
import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests.data.images import ops_test
from tfvit.data.images import ops


def jpeg(height, width, subsampling):
    """A file of noise, in which every pixel of a neighbour shows."""
    noise = np.random.RandomState(0).randint(
        0, 256, (height, width, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", subsampling=subsampling)
    return buffer.getvalue()


SUBSAMPLINGS = pytest.mark.parametrize("subsampling",
                                       ["4:4:4", "4:2:2", "4:2:0"])


@SUBSAMPLINGS
def test_cropping_while_decoding_gives_the_pixels_of_cropping_after(
        subsampling):
    contents = jpeg(50, 70, subsampling)
    crop = functools.partial(ops.decode_and_inception_crop, size=16)
    whole = ops.decode(contents)
    for seed in range(20):
        part = crop(tf.constant(contents), [seed, 0])
        np.testing.assert_array_equal(part, crop(whole, [seed, 0]))
    _, spec = ops_test.twice(crop, contents, [0, 0])
    assert spec.shape.as_list() == [16, 16, 3] and spec.dtype == tf.float32


@SUBSAMPLINGS
@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_a_part_has_the_pixels_of_the_whole_wherever_it_begins(
        subsampling, ratio):
    contents = jpeg(61, 83, subsampling)
    whole = tf.io.decode_jpeg(contents, channels=3, ratio=ratio).numpy()
    for begin in range(0, 52):
        box = np.int32([begin // 2, begin, 61 - begin // 2, 83 - begin])
        box[2:] -= begin % 7
        height, width = box[2:] // ratio
        # Half of what does not fill a pixel lies before the part.
        top, left = np.floor(
            (box[:2] + box[2:] / 2) / ratio - box[2:] // ratio / 2 +
            0.5).astype(int)
        np.testing.assert_array_equal(
            ops.decode_part(contents, box, ratio=ratio),
            whole[top:top + height, left:left + width])


@pytest.mark.parametrize("size, ratio", [(61, 1), (50, 2), (30, 4), (12, 8)])
def test_scaled_decoding_keeps_the_pixels_of_the_result(size, ratio):
    contents = jpeg(121, 121, "4:2:0")
    crop = functools.partial(ops.decode_and_inception_crop, size=size,
                             area_min=99.9, aspect_min=0.99, aspect_max=1.01,
                             scaled_decoding=True)
    image, _ = ops_test.twice(crop, contents, [0, 0])
    whole = tf.io.decode_jpeg(contents, channels=3, ratio=ratio)
    boxes = [whole[top:top + height, left:left + width]
             for top in (0, 1) for left in (0, 1)
             for height in (120 // ratio, 121 // ratio)
             for width in (120 // ratio, 121 // ratio)]
    assert any(np.array_equal(image, ops.resize(box, size=size))
               for box in boxes)
