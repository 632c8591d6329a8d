import functools
import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tfvit.data.images import ops

RNG = np.random.RandomState(0)
PIXELS = np.kron(RNG.randint(0, 256, (5, 6, 3)), np.ones((8, 8, 1)))  # [40, 48]
PIXELS = PIXELS.astype(np.uint8)


def encode(file_format, mode="RGB", **kwargs):
    """Returns an image file and its pixels, by PIL, as RGB."""
    image = Image.fromarray(PIXELS).convert("RGB")
    if mode in ("RGBA", "LA"):
        image.putalpha(100)
    image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **kwargs)
    return buffer.getvalue(), np.array(image.convert("RGB"))


def twice(op, *args):
    """Runs an op eagerly and in tf.data, which must agree."""
    eager = op(*map(tf.constant, args))
    dataset = tf.data.Dataset.from_tensors(args).map(op)
    assert dataset.element_spec.shape.is_compatible_with(eager.shape)
    np.testing.assert_array_equal(next(iter(dataset)), eager)
    return eager.numpy(), dataset.element_spec


@pytest.mark.parametrize("file_format,mode", [
    ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"),
    ("PNG", "1"), ("BMP", "RGB"), ("BMP", "RGBA"), ("BMP", "L"), ("GIF", "L"),
])  # yapf: disable
def test_decode_reads_lossless_files_as_three_channels(file_format, mode):
    contents, expected = encode(file_format, mode)
    image, spec = twice(ops.decode, contents)
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == np.uint8 and spec.shape.as_list() == [None, None, 3]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_decode_reads_webp_and_drops_alpha(mode):
    contents, expected = encode("WEBP", mode, lossless=True)
    image, _ = twice(ops.decode, contents)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_decode_reads_jpeg_as_three_channels(mode):
    contents, expected = encode("JPEG", mode, quality=95, subsampling=0)
    image, _ = twice(ops.decode, contents)
    # Decoders may round differently.
    assert np.abs(image.astype(int) - expected).max() <= 4


def test_decode_keeps_the_high_byte_of_a_16_bit_png():
    wide = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    contents = tf.io.encode_png(wide[..., None]).numpy()
    image, _ = twice(ops.decode, contents)
    np.testing.assert_array_equal(image[..., 0], wide >> 8)


def test_decode_takes_the_first_frame_of_an_animated_gif():
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    image, _ = twice(ops.decode, buffer.getvalue())
    np.testing.assert_array_equal(
        image, np.broadcast_to(np.uint8([255, 0, 0]), (4, 6, 3)))


def test_decode_refuses_an_animated_webp():
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Animation"):
        ops.decode(buffer.getvalue())


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_decode_refuses_a_file_cut_short(file_format, share):
    contents, _ = encode(file_format)
    with pytest.raises(tf.errors.InvalidArgumentError):
        ops.decode(contents[:int(len(contents) * share)])


def test_decode_passes_arrays_and_repeats_a_single_channel():
    np.testing.assert_array_equal(ops.decode(PIXELS), PIXELS)
    grey = PIXELS[..., :1]
    image, spec = twice(ops.decode, grey)
    np.testing.assert_array_equal(image, np.repeat(grey, 3, -1))
    assert spec.shape.as_list() == [40, 48, 3]


def test_decode_can_keep_one_channel():
    contents, expected = encode("PNG", "L")
    image, spec = twice(functools.partial(ops.decode, channels=1), contents)
    np.testing.assert_array_equal(image, expected[..., :1])
    assert spec.shape.as_list() == [None, None, 1]


def test_inception_crop_also_takes_files_that_are_not_jpeg():
    contents, expected = encode("PNG")
    crop = functools.partial(ops.decode_and_inception_crop, size=(10, 12))
    part, spec = twice(crop, contents, [7, 8])
    np.testing.assert_array_equal(part, crop(expected, [7, 8]))
    assert spec.shape.as_list() == [10, 12, 3]


def test_inception_crops_have_the_area_and_aspect_that_was_asked_for():
    # Each pixel holds its own place, so a crop shows where it comes from.
    rows, columns = np.meshgrid(np.arange(200), np.arange(250), indexing="ij")
    image = np.stack([rows, columns, columns], -1).astype(np.uint8)
    for seed in range(30):
        part = ops.decode_and_inception_crop(image, [seed, 0],
                                             size=2,
                                             area_min=20,
                                             area_max=30,
                                             aspect_min=0.8,
                                             aspect_max=1.25).numpy()
        # The two samples lie at 1/4 and 3/4 of each side.
        height = 2 * (part[1, 0, 0] - part[0, 0, 0])
        width = 2 * (part[0, 1, 1] - part[0, 0, 1])
        assert 0.19 < height * width / (200 * 250) < 0.31
        assert 0.78 < width / height < 1.28


def bilinear(image, height, width):
    """Half-pixel bilinear resizing without antialiasing."""
    for axis, size in enumerate((height, width)):
        length = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0,
                     length - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, length - 1)
        weight = (at - low).reshape([-1] + [1] * (2 - axis))
        image = (np.take(image, low, axis) * (1 - weight) +
                 np.take(image, high, axis) * weight)
    return image


@pytest.mark.parametrize("size", [(7, 9), 60])
def test_resize_is_half_pixel_bilinear_without_antialiasing(size):
    image, spec = twice(functools.partial(ops.resize, size=size), PIXELS)
    height, width = (size, size) if isinstance(size, int) else size
    np.testing.assert_allclose(image,
                               bilinear(PIXELS.astype(float), height, width),
                               atol=1e-3)
    assert spec.shape.as_list() == [height, width, 3]
    assert image.dtype == np.float32


def test_resize_small_averages_areas_and_keeps_the_aspect():
    image, spec = twice(functools.partial(ops.resize_small, smaller_size=5),
                        PIXELS)  # Blocks of 8 x 8 equal pixels.
    np.testing.assert_allclose(image, PIXELS[::8, ::8], atol=1e-3)
    assert spec.shape[-1] == 3


@pytest.mark.parametrize("shape,expected", [((30, 44), (20, 29)),
                                            ((45, 30), (30, 20)),
                                            ((7, 7), (20, 20))])
def test_resize_small_rounds_the_longer_side(shape, expected):
    image = np.zeros((*shape, 3), np.uint8)
    assert ops.resize_small(image, smaller_size=20).shape[:2] == expected


@pytest.mark.parametrize("shape", [(40, 48), (97, 31), (20, 320), (319, 20),
                                   (33, 200)])
@pytest.mark.parametrize("method", ["area", "bilinear"])
def test_resize_small_is_the_same_up_to_its_largest_aspect(shape, method):
    image = RNG.randint(0, 256, (*shape, 3)).astype(np.uint8)
    height, width = [round(side * 24 / min(shape)) for side in shape]
    whole = tf.image.resize(image, [height, width], method)
    np.testing.assert_array_equal(
        ops.resize_small(image, smaller_size=24, method=method), whole)


@pytest.mark.parametrize("shape, kept", [
    ((1, 3_000), (24, 384)), ((3_000, 1), (384, 24)), ((2, 65), (24, 372)),
    ((1, 65_535), (24, 360))])
def test_resize_small_of_a_line_stays_small_and_has_the_same_middle(
        shape, kept):
    image = RNG.randint(0, 256, (*shape, 1)).astype(np.uint8)
    part, _ = twice(functools.partial(ops.resize_small, smaller_size=24), image)
    assert part.shape == (*kept, 1)
    # By hand: each pixel becomes a square, of which the middle is taken.
    square = 24 // min(shape)
    begins, ends = zip(*(((side * square - 20) // 2, (side * square + 20) // 2)
                         for side in shape))
    rows, columns = (np.arange(begin, end) // square
                     for begin, end in zip(begins, ends))
    np.testing.assert_allclose(ops.central_crop(part, size=20),
                               image[rows][:, columns], atol=0.01)


def test_resize_small_wants_an_aspect_of_one_or_more():
    with pytest.raises(ValueError, match="resize_small.max_aspect = 0.5"):
        ops.resize_small(PIXELS, smaller_size=5, max_aspect=0.5)


@pytest.mark.parametrize("shape", [(1, 3_000), (3_000, 1), (1, 1), (2, 65_000)])
def test_crops_of_lines_have_the_size_asked_for(shape):
    image = RNG.randint(0, 256, (*shape, 3)).astype(np.uint8)
    part = ops.decode_and_inception_crop(image, [3, 4], size=16).numpy()
    assert part.shape == (16, 16, 3)
    assert image.min() <= part.min() <= part.max() <= image.max()


def test_central_crop_takes_the_middle():
    image, spec = twice(functools.partial(ops.central_crop, size=(10, 21)),
                        PIXELS)
    np.testing.assert_array_equal(image, PIXELS[15:25, 13:34])
    assert spec.shape.as_list() == [10, 21, 3]


def test_crops_larger_than_the_image_name_their_setting():
    with pytest.raises(tf.errors.InvalidArgumentError, match="central_crop"):
        ops.central_crop(PIXELS, size=41)
    with pytest.raises(tf.errors.InvalidArgumentError, match="random_crop"):
        ops.random_crop(PIXELS, [0, 0], size=(40, 49))


def test_random_crop_takes_one_of_all_places():
    image = np.arange(16).reshape(4, 4, 1)
    crop = functools.partial(ops.random_crop, size=3)
    seen = set()
    for seed in range(30):
        part = crop(image, [seed, 0]).numpy()
        top, left = divmod(part[0, 0, 0], 4)
        np.testing.assert_array_equal(part, image[top:top + 3, left:left + 3])
        seen.add((top, left))
    assert seen == {(0, 0), (0, 1), (1, 0), (1, 1)}
    twice(crop, image, [3, 4])


def test_random_shift_moves_and_fills_with_zero():
    image = np.zeros((5, 5, 1), np.uint8)
    image[2, 2] = 200
    shift = functools.partial(ops.random_shift, pixels=1)
    places = set()
    for seed in range(60):
        moved = shift(image, [seed, 1]).numpy()
        assert moved.sum() == 200
        places.add(tuple(np.argwhere(moved)[0, :2]))
    assert places == {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)}
    _, spec = twice(shift, image, [0, 1])
    assert spec.shape.as_list() == [5, 5, 1]


def test_random_shift_fills_with_zero_at_the_edge():
    moved = [
        ops.random_shift(np.full((2, 2, 1), 9, np.uint8), [seed, 0],
                         pixels=2).numpy().sum() for seed in range(50)
    ]
    assert set(moved) == {0, 9, 18, 36}


def test_flip_lr_mirrors_about_half_of_the_images():
    flips = 0
    for seed in range(100):
        image = ops.flip_lr(PIXELS, [seed, 5]).numpy()
        flipped = np.array_equal(image, PIXELS[:, ::-1])
        assert flipped or np.array_equal(image, PIXELS)
        flips += flipped
    assert 35 <= flips <= 65
    twice(ops.flip_lr, PIXELS, [1, 2])


def test_value_range_maps_bytes_to_minus_one_to_one():
    values = np.uint8([[[0, 51, 255]]])
    image, _ = twice(ops.value_range, values)
    np.testing.assert_array_equal(image, (values.astype(np.float32) - 127.5) /
                                  np.float32(127.5))
    unit = ops.value_range(values, low=0., high=1.)
    np.testing.assert_allclose(unit, [[[0, 0.2, 1]]], atol=1e-7)


def test_to_uint8_clips_and_truncates():
    image, _ = twice(ops.to_uint8, np.float32([[[-3.5, 1.9, 300.]]]))
    np.testing.assert_array_equal(image, [[[0, 1, 255]]])
    assert image.dtype == np.uint8
