"""The page of tools/demo in a real browser, against Python.

TFVIT_SCREENSHOTS=FOLDER keeps its screenshots.
"""

import functools
import io
import json
import pathlib
import shutil
import struct
import zlib

from numpy import testing
import numpy as np
from PIL import Image
import pytest
import sentencepiece
import tensorflow as tf

from tests.serving import samples
from tests.tools import chromium
from tests.tools import demo_page
from tests.tools import small_lit
from tests.tools import tricky
from tfvit import config
from tfvit.data import prompts
from tfvit.data import tokenizers
from tfvit.data.images import ops
from tfvit.inference import browser
from tfvit.inference import finished
from tfvit.server import static
from tfvit.serving import page

pytestmark = pytest.mark.slow
WORDS = ["[PAD]", "[UNK]", "[CLS]", "a", "cat", "dog", "photo", "of"]
SIZE = 16
UPRIGHT = [functools.partial(ops.decode, upright=True),
           functools.partial(ops.resize, size=SIZE),
           functools.partial(ops.to_uint8, nearest=True),
           ops.value_range]
CROPPED = [ops.decode, functools.partial(ops.resize_small, smaller_size=20),
           functools.partial(ops.central_crop, size=SIZE), ops.value_range]
TEXTS = ["a cat", "Dog", "a photo of a dog", "of"]


def made(name, model, **settings):
    return finished.Trained(**{
        "name": name, "step": 1, "ops": UPRIGHT, "config": "", "link": "softmax",
        "precision": "float32", "class_names": [], "model": model, **settings})


@pytest.fixture(scope="module")
def models():
    """{name: finished.Trained} of all that the site has."""
    tokenizer = tokenizers.wordpiece(vocab=WORDS, max_len=6)
    return {
        "shapes": small_lit.trained(),
        "sigmoid": made("sigmoid", samples.lit(bias_init=-2.0), link="sigmoid",
                        tokenizer=tokenizer),
        "classes": made("classes", samples.model(), ops=CROPPED,
                        class_names=samples.NAMES),
        "large": made("large", samples.lit(), tokenizer=tokenizer),
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory, models):
    """The folder of the page, with broken copies of two of its modules."""
    if why := chromium.missing():
        pytest.skip(why)
    out = tmp_path_factory.mktemp("site")
    runtime = page.runtime()  # Seconds; once for all.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "runtime", lambda: runtime)
        for name, trained in models.items():
            browser.export(trained, str(out), name=name, precisions=[
                "float32", "float16", "int8"][:3 if name == "shapes" else 1],
                texts=TEXTS if trained.tokenizer and name != "shapes" else (),
                max_image_mb=1e-4 if name == "large" else 200)
    wrong = out / "wrong"
    wrong.mkdir()
    for name in page.page():
        if name.endswith(".js"):
            text = (out / name).read_text()
            for right, broken in (
                    ("Math.floor(at);\n    return [Math.max(low, 0)",
                     "Math.floor(at) + 1;\n    return [Math.max(low, 0)"),
                    ("ids.get(piece)); break;", "ids.get(piece) + 1); break;"),
                    ("let score = -Infinity", "let score = 1"),
                    ("Math.ceil(at)", "Math.ceil(at) + 1")):
                text = text.replace(right, broken)
            (wrong / name).write_text(text)
    for name in ("pixels.js", "wordpiece.js"):
        assert (wrong / name).read_text() != (out / name).read_text()
    for name, data in chromium.files().items():
        (out / name).write_bytes(data)
    return out


@pytest.fixture(scope="module")
def tab(site):
    server, address = chromium.serve(site)
    driver = chromium.start()
    made_page = demo_page.Page(driver, address)
    made_page.size(1280, 900)
    yield made_page
    driver.quit()
    server.shutdown()
    server.server_close()


SERVERS = {}


def server(trained):
    """Its server, whose functions are traced once."""
    if trained.name not in SERVERS:
        SERVERS[trained.name] = trained.server()
    return SERVERS[trained.name]


def python(trained, images, texts):
    """Probabilities [images, texts], as the export's signature has them."""
    return server(trained).zeroshot(tf.constant(images), tf.constant(
        texts))["probabilities"].numpy()


def info(site, name):
    (folder,) = (site / "models" / name).iterdir()
    return folder, json.loads((folder / "demo.json").read_text())


# The numbers.


def test_presets_are_as_likely_as_python_says(tab, site, models):
    folder, facts = info(site, "shapes")
    presets = facts["presets"]["images"]
    assert len(presets) == 8 and facts["texts"] == [
        one["text"] for one in presets]
    expected = python(models["shapes"], [
        (folder / one["file"]).read_bytes() for one in presets], facts["texts"])
    assert expected.argmax(1).tolist().count(0) < 8  # It has learned something.
    tab.open()
    for i, row in enumerate(expected):
        tab.js("document.querySelectorAll('.thumb')[a[0]].click()", i)
        answers = tab.wait().answers()
        for text, p in zip(facts["texts"], row):
            assert answers[text] == pytest.approx(p, abs=1e-5)
        assert list(answers.values()) == sorted(answers.values(), reverse=True)
    top = facts["texts"][expected[-1].argmax()]
    assert f"Most likely: {top}, {expected[-1].max():.1%}".replace(
        "%", " %") in tab.said()


@pytest.mark.parametrize("model, how, names", [
    ("shapes", "drop", list(chromium.files())),
    ("sigmoid", "paste", ["plain.png", "turned6.jpg"]),
    ("classes", "drop", ["plain.png", "alpha.png", "progressive.jpg", "odd.jpg"])])
def test_files_are_as_likely_as_python_says(tab, site, models, model, how, names):
    trained = models[model]
    tab.open(f"#model={model}")
    texts = None if model == "classes" else info(site, model)[1]["texts"]
    for name in names:
        data = chromium.files()[name]
        tab.drop(name, how=how)
        assert not tab.alert(), name
        if texts:
            expected = dict(zip(texts, python(trained, [data], texts)[0]))
        else:
            expected = dict(zip(samples.NAMES, server(trained).classify(
                tf.constant([data]))["probabilities"].numpy()[0]))
        answers = tab.answers()
        assert answers.keys() == expected.keys()
        for text, p in answers.items():
            assert p == pytest.approx(expected[text], abs=1e-5), (name, text)


STEPS = [UPRIGHT, CROPPED, [ops.decode, ops.value_range], [
    functools.partial(ops.decode, upright=True), functools.partial(
        ops.resize_small, smaller_size=90, max_aspect=1.2, method="bilinear"),
    functools.partial(ops.central_crop, size=(70, 80)),
    functools.partial(ops.value_range, low=0.0, high=1.0)], [
        ops.decode, functools.partial(ops.resize, size=(9, 77)),
        ops.value_range]]


def pixels(tab, name, module="pixels.js", only=STEPS):
    """(here, there) for each of the lists of ops."""
    from tfvit.inference import preprocessing
    for steps in only:
        said = page.steps(preprocessing.record(steps), (12, 12, 3))
        found = tab.js("""const {pixels} = await import(a[0]);
            const blob = await (await fetch('/' + a[1])).blob();
            return [...await pixels(blob, a[2], 1e9)]""",
                       tab.address + module, name, said)
        image = tf.constant(chromium.files()[name])
        for op in steps:
            image = op(image)
        if steps[-1] is ops.value_range and len(steps) == 2:
            image = ops.resize(image, size=12)
        yield np.array(found, np.float32), image.numpy().ravel()


@pytest.mark.parametrize("name", chromium.files())
def test_pixels_are_those_of_python(tab, name):
    only = STEPS if name in ("plain.png", "turned6.jpg") else STEPS[:1]
    for here, there in pixels(tab.here(), name, only=only):
        testing.assert_array_equal(here, there)


def test_a_resize_that_is_off_by_one_would_be_seen(tab):
    for steps in (STEPS[0], STEPS[4]):
        ((here, there),) = pixels(tab.here(), "plain.png", "wrong/pixels.js", [steps])
        assert np.abs(here - there).max() > 0.01


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    """{name: (kind, vocabulary, ids of tricky.texts())}"""
    found = {"wordpiece": tokenizers.wordpiece(
        vocab=tricky.words(), max_len=64)}
    corpus = [frame.format(name) for frame in prompts.clip_paper
              for name in ("dog", "cat", "chain saw", "golf ball", "church")]
    corpus += [text for text in tricky.TEXTS if text.strip()] * 3
    folder = tmp_path_factory.mktemp("sentencepiece")
    for kind, rule in (("unigram", "nmt_nfkc"), ("bpe", "nmt_nfkc_cf"),
                       ("unigram", "identity")):
        proto = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_writer=proto, vocab_size=600,
            model_type=kind, normalization_rule_name=rule, pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, character_coverage=0.99,
            hard_vocab_limit=False, minloglevel=2)
        path = folder / f"{kind}_{rule}.model"
        path.write_bytes(proto.getvalue())
        found[path.stem] = tokenizers.sentencepiece(model=str(path), max_len=64)
    texts = tricky.texts()
    return {name: (made.kind, made.vocabulary, made(
        tf.constant(texts)).numpy().tolist()) for name, made in found.items()}


def tokens(tab, kind, vocabulary, module=None):
    return tab.js("""const made = (await import(a[0]))[a[1]]({
        data: Uint8Array.from(a[2]), maxLen: 64}); return a[3].map(made)""",
                  f"{tab.address}{module or kind}.js", kind, list(vocabulary),
                  tricky.texts())


@pytest.mark.parametrize("name", ["wordpiece", "unigram_nmt_nfkc",
                                  "bpe_nmt_nfkc_cf", "unigram_identity"])
def test_tokens_are_those_of_python(tab, tokenized, name):
    kind, vocabulary, expected = tokenized[name]
    assert len(expected) > 2_000
    found = tokens(tab.here(), kind, vocabulary)
    different = [text for text, a, b in zip(tricky.texts(), found, expected)
                 if a != b]
    assert not different


def test_a_tokenizer_that_is_off_by_one_would_be_seen(tab, tokenized):
    kind, vocabulary, expected = tokenized["wordpiece"]
    found = tokens(tab.here(), kind, vocabulary, "wrong/wordpiece")
    assert sum(a != b for a, b in zip(found, expected)) > 1_000


def test_prompts_and_templates_are_joined_as_in_python(tab):
    names = ["tench, Tinca tinca", "hot_pot", "n01440764 Tench", "A  dog!",
             "Ångström's", "x\u2003y\u00a0z", "a,b,c", "$& dog", "ΣΊΣΥΦΟΣ"]
    found = tab.here().js("""const {texts} = await import('./prompts.js');
        return a[0].map(name => texts(name, a[1]))""", names, prompts.clip_paper)
    assert found == prompts.texts(names, prompts.clip_paper)
    assert tab.js("""const {texts, problem} = await import('./prompts.js');
        return [texts(' . ', ['a {}']), problem('a {}'), problem('a'),
            problem('{} {}')]""")[:2] == [[], ""]


@pytest.mark.parametrize("name", ["clip_best", "own"])
def test_several_templates_count_by_their_mean(tab, site, models, name):
    folder, facts = info(site, "shapes")
    image = (folder / facts["presets"]["images"][2]["file"]).read_bytes()
    classify = finished.zeroshot(
        server(models["shapes"]).signatures(samples_late), facts["texts"],
        prompts=facts["templates"][name], top_k=8)
    expected = classify(image_bytes=tf.constant([image]))
    tab.open(f"#model=shapes&image=3&templates={name}")
    answers = tab.answers()
    for i, text in enumerate(facts["texts"]):
        assert answers[text] == pytest.approx(
            float(expected["probabilities"][0, i]), abs=1e-5)


def samples_late(function, *specs):
    del specs
    return function


def test_all_pictures_are_compared_both_ways(tab, site, models):
    folder, facts = info(site, "shapes")
    texts = facts["texts"]
    images = [(folder / one["file"]).read_bytes()
              for one in facts["presets"]["images"]]
    model = server(models["shapes"])
    logits = facts["temperature"] * (
        model.embed_texts(tf.constant(texts))["embeddings"].numpy() @
        model.embed_images(tf.constant(images))["embeddings"].numpy().T)
    for view, axis in (("texts", 0), ("images", 1)):
        exps = np.exp(logits - logits.max(axis, keepdims=True))
        tab.open(f"#model=shapes&view=all&by={view}")
        names, values = tab.table()
        assert names == texts
        testing.assert_allclose(values, exps / exps.sum(axis, keepdims=True),
                                atol=1e-5)
    tab.open("#model=sigmoid&view=all&by=images").drop("plain.png", "plain.gif")
    _, values = tab.table()
    expected = python(models["sigmoid"], [
        chromium.files()[name] for name in ("plain.png", "plain.gif")], TEXTS)
    testing.assert_allclose(np.array(values)[:, -2:], expected.T, atol=1e-5)
    assert not np.isclose(expected.sum(1), 1).any()


def test_where_a_model_looks_is_laid_over_the_picture(tab, models):
    data = chromium.files()["plain.jpg"]
    expected = server(models["classes"]).attention(tf.constant([data]))
    tab.open("#model=classes").drop("plain.jpg")
    found = tab.js("""const {Model, list} = await import('./model.js');
        const entry = (await list()).find(one => one.name === 'classes');
        const model = await Model.open(entry, () => {});
        const blob = await (await fetch('plain.jpg')).blob();
        return [...(await model.look(blob)).rollout]""")
    testing.assert_allclose(np.reshape(found, [4, 4]), expected["rollout"][0],
                            atol=1e-5)
    heat, picture = tab.id("heat"), tab.id("picture")
    assert heat.is_displayed() and not tab.id("add").is_displayed()
    # The crop in the middle: a square as high as the picture.
    assert heat.rect["width"] == pytest.approx(heat.rect["height"], abs=1)
    assert heat.rect["width"] < picture.rect["width"]
    tab.click("overlay")
    assert not heat.is_displayed()


def test_smaller_weights_say_nearly_the_same(tab, site):
    folder, facts = info(site, "shapes")
    shutil.copyfile(folder / facts["presets"]["images"][0]["file"],
                    site / "copy.png")
    found = {}
    for name in ("float32", "float16", "int8"):
        tab.open(f"#model=shapes&weights={name}").drop("copy.png")
        found[name] = tab.answers()
    for name, most in (("float16", 0.02), ("int8", 0.3)):
        worst = max(abs(p - found["float32"][text])
                    for text, p in found[name].items())
        assert 0 < worst < most, name
    options = [one.text for one in tab.all("#precision option")]
    assert options[0].startswith("float32 · 0.8 MB") and len(options) == 3


def test_a_graphics_card_or_what_stands_in_for_it_says_the_same(tab, models, site):
    texts = info(site, "shapes")[1]["texts"]
    expected = python(models["shapes"], [chromium.files()["plain.png"]],
                      texts)[0]
    tab.open("#model=shapes&device=gpu").drop("plain.png")
    assert not tab.alert() and "(WebGPU" in tab.said()
    for text, p in zip(texts, expected):
        assert tab.answers()[text] == pytest.approx(p, abs=1e-4)
    tab.js("""const device = document.getElementById('device');
        device.value = 'cpu'; device.dispatchEvent(new Event('change'))""")
    assert "WebAssembly, " in tab.wait().said()
    for text, p in zip(texts, expected):
        assert tab.answers()[text] == pytest.approx(p, abs=1e-5)


@pytest.mark.parametrize("broken, said", [
    ("navigator.gpu.requestAdapter = async () => null",
     "The browser finds no graphics card."),
    ("navigator.gpu.requestAdapter = async () => { throw new Error('lost'); }",
     "The browser finds no graphics card."),
    # As one that computes something else.
    ("""const whole = Response.prototype.arrayBuffer;
        Response.prototype.arrayBuffer = async function() {
          const data = await whole.call(this);
          if (this.url.endsWith('presets.f32')) {
            new Float32Array(data).forEach((x, i, all) => { all[i] = -x; });
          }
          return data;
        }""", "The graphics card is wrong about this model.")])
def test_where_the_graphics_card_fails_the_processor_goes_on(
        tab, models, site, broken, said):
    with tab.before(broken):
        alerts = [tab.open("#model=shapes&device=gpu").alert(),
                  tab.drop("plain.png").alert()]
    assert f"{said} It runs on the processor instead." in alerts
    assert "WebAssembly, " in tab.said()
    assert tab.id("device").get_attribute("value") == "cpu"
    texts = info(site, "shapes")[1]["texts"]
    for text, p in zip(texts, python(models["shapes"], [
            chromium.files()["plain.png"]], texts)[0]):
        assert tab.answers()[text] == pytest.approx(p, abs=1e-5)


# What people do.


def test_a_link_brings_back_what_was_seen(tab):
    tab.open("#model=shapes&image=5&template=one {}&template=a {} %26 more"
             "&templates=custom&text=a red cross&text=ä \U0001f600 ?%23&text=")
    link, answers = tab.driver.current_url, tab.answers()
    assert set(answers) == {"a red cross", "ä \U0001f600 ?#", ""}
    assert answers[""] is None
    tab.driver.get("about:blank")
    tab.driver.get(link)
    tab.wait()
    assert tab.answers() == answers and tab.driver.current_url == link
    assert tab.id("own").get_attribute("value") == "one {}\na {} & more"
    tab.open("#model=sigmoid&view=all&by=images&weights=float32")
    assert tab.id("by-images").get_attribute("aria-pressed") == "true"
    assert tab.id("model").get_attribute("value") == "sigmoid"


def test_no_prompt_and_fifty(tab, site, models):
    tab.open("#model=shapes&texts=")
    assert tab.answers() == {} and tab.id("empty").is_displayed()
    tab.click("add")
    assert tab.answers() == {"": None}
    many = [f"a {colour} {shape} at the {place}" for colour in ("red", "blue")
            for shape in ("circle", "ring", "cross", "square", "diamond")
            for place in ("top", "left", "center", "right", "bottom")]
    tab.open("#model=shapes&" + "&".join(f"text={one}" for one in many))
    folder, facts = info(site, "shapes")
    expected = python(models["shapes"], [
        (folder / facts["presets"]["images"][0]["file"]).read_bytes()], many)[0]
    answers = tab.answers()
    assert len(answers) == 50 and sum(answers.values()) == pytest.approx(1)
    for text, p in zip(many, expected):
        assert answers[text] == pytest.approx(p, abs=1e-5)


def test_prompts_are_edited_with_the_keyboard_alone(tab):
    from selenium.webdriver.common.keys import Keys
    tab.open("#model=shapes&text=a red circle at the top left")
    focused = lambda: tab.driver.switch_to.active_element

    def press(*keys):
        for key in keys:
            focused().send_keys(key)

    def reach(selector):
        for _ in range(60):
            press(Keys.TAB)
            if tab.js("return document.activeElement.matches(a[0])", selector):
                return
        raise AssertionError(f"{selector} cannot be reached.")

    reach("#gallery li:nth-child(2) button")
    press(Keys.SPACE)
    tab.wait()
    assert "image=2" in tab.driver.current_url
    reach("#rows input")
    press(Keys.ENTER)  # One more, below.
    press("a white circle at the bottom")
    tab.wait()
    reach("#add")
    tab.wait()
    first, second = tab.answers().items()
    assert first[0] == "a white circle at the bottom" and first[1] > second[1]
    press(Keys.ENTER)
    press("a ring")
    assert len(tab.wait().answers()) == 3
    press(Keys.TAB, Keys.ENTER)  # Its copy.
    tab.wait()
    assert len(tab.all("#rows input")) == 4
    assert focused().get_attribute("value") == "a ring"
    press(Keys.TAB, Keys.TAB, Keys.ENTER)  # Away with it.
    tab.wait()
    assert len(tab.all("#rows input")) == 3
    assert focused().tag_name == "input"
    assert "Most likely: a white circle" in tab.said()


def test_own_pictures_are_chosen_shown_and_removed(tab, site):
    tab.open()
    tab.id("file").send_keys("\n".join(
        str(site / name) for name in ("plain.png", "plain.jpg")))
    tab.wait()
    assert tab.id("view-all").get_attribute("aria-pressed") == "true"
    assert len(tab.all("#gallery li")) == 10
    assert len(tab.table()[1][0]) == 10
    tab.click("view-one")
    assert tab.said("caption") == "plain.png"
    tab.js("document.querySelector('.remove').click()")
    tab.wait()
    assert len(tab.all("#gallery li")) == 9
    assert tab.said("caption") == "a red circle at the top left"


def test_the_camera_takes_a_picture(tab):
    tab.open()
    tab.js("document.getElementById('camera').click()")
    tab.js("""while (document.getElementById('video').readyState < 2) {
        await new Promise(done => setTimeout(done, 20)); }
        document.getElementById('shoot').click()""")
    tab.js("""while (document.querySelectorAll('#gallery li').length < 9) {
        await new Promise(done => setTimeout(done, 20)); }""")
    tab.wait()
    assert tab.said("caption") == "Camera" and not tab.alert()
    assert "Most likely" in tab.said() and not tab.id("dialog").is_displayed()


# What goes wrong.


def black(side):
    """A PNG file of many pixels, and few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + (side + 7) // 8) * side), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(
        ">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(
            b"IEND", b"")


def test_sizes_are_known_before_decoding(tab):
    for name, data in chromium.files().items():
        found = tab.here().js("""const {pixelsOf} = await import('./files.js');
            return pixelsOf(Uint8Array.from(a[0]))""", list(data))
        width, height = Image.open(io.BytesIO(data)).size
        assert found == width * height or (
            b"WEBPVP8L" in data and found == 0), name


def test_broken_files_are_said_and_others_go_on(tab, site):
    tab.open()
    unread = "This file is not an image that the browser can read."
    for name, data, said in (
            ("broken.png", b"no image", unread), ("empty.png", b"", unread),
            ("cut.jpg", chromium.files()["plain.jpg"][:900],
             "This JPEG file is cut short or broken."),
            ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
             f"{unread} It is HEIC, which few browsers read: save it as JPEG."),
            ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>',
             f"{unread} It is a drawing, SVG: save it as PNG."),
            ("a.tif", b"II*\0" + bytes(99), f"{unread} It is TIFF: save it as "
             "PNG or JPEG."),
            ("giant.png", black(30_000), "This image has 900,000,000 pixels, "
             "more than the 50,000,000 that the model takes.")):
        (site / name).write_bytes(data)
        assert tab.drop(name).alert() == f"{name}: {said}"
    tab.drop("plain.png")
    assert not tab.alert() and len(tab.answers()) == 8


def test_what_is_missing_is_said(tab, site):
    tab.open("#model=none")
    assert "There is no model none here" in tab.alert()
    folder, _ = info(site, "sigmoid")
    for name, said, other in (
            ("text_float32.tflite", "Weights for texts is not there",
             "Weights for texts is cut short: 15 of "),
            ("demo.json", "The model sigmoid is not there",
             "The model sigmoid is another file"),
            ("../../../models.json", "The list of models is not",
             "The list of models is another file")):
        path = folder / name
        content = path.read_bytes()
        path.unlink()
        try:
            with tab.uncached():
                tab.open("#model=sigmoid")
            assert said in tab.alert() and "404" in tab.alert()
            path.write_text("<!doctype html>")  # As some hosts say it.
            with tab.uncached():
                tab.open("#model=sigmoid")
            assert other in tab.alert()
        finally:
            path.write_bytes(content)


def test_a_download_tells_how_far_it_is(tab):
    with tab.uncached(3_000_000), tab.before("""window.told = [];
            addEventListener('DOMContentLoaded', () => {
              const loading = document.getElementById('loading');
              new MutationObserver(() => loading.hidden || told.push([
                  loading.innerText.trim(),
                  loading.querySelector('progress').position])).observe(loading, {
                    attributes: true, childList: true, subtree: true});
            });"""):
        tab.open("#model=shapes")
    told = tab.js("return told")
    assert ["The runtime, 3 MB", -1] in told
    said = [one for one in told if "Weights for texts" in one[0]]
    assert said[-1] == ["Weights for texts: 0.3 MB of 0.3 MB", 1]
    shares = [share for _, share in said]
    assert len(set(shares)) > 2 and shares == sorted(shares)


def test_a_connection_that_breaks_off_is_said_and_tried_again(
        tab, models, site, monkeypatch):
    send = static.Handler._send  # pylint: disable=protected-access

    def half(self, status, headers, data, length):
        if "text_float32" in self.path:
            data, self.close_connection = data[:length // 2], True
        send(self, status, headers, data, length)

    with monkeypatch.context() as patch, tab.uncached():
        patch.setattr(static.Handler, "_send", half)
        tab.open("#model=sigmoid")
        assert tab.alert() == ("Weights for texts could not be loaded: the "
                               "connection broke off. Load the page again.")
    folder, facts = info(site, "sigmoid")
    tab.js("document.querySelectorAll('.thumb')[1].click()")
    expected = python(models["sigmoid"], [
        (folder / facts["presets"]["images"][1]["file"]).read_bytes()], TEXTS)
    for text, p in zip(TEXTS, expected[0]):
        assert tab.wait().answers()[text] == pytest.approx(p, abs=1e-5)


def test_a_browser_without_simd_is_told(tab):
    with tab.before("WebAssembly.validate = () => false"):
        assert "has no WebAssembly SIMD" in tab.open().alert()


def test_a_runtime_that_cannot_have_threads_has_one(tab):
    """As where their memory, which is shared, cannot be had."""
    with tab.before("""const whole = WebAssembly.Memory;
            WebAssembly.Memory = function(wanted) {
              if (wanted.shared) throw new RangeError('no memory');
              return new whole(wanted);
            };"""):
        tab.open("#model=shapes").drop("plain.png")
    assert not tab.alert() and "(WebAssembly, 1 thread)" in tab.said()


def test_a_camera_that_may_not_be_used_is_said(tab):
    with tab.before("""navigator.mediaDevices.getUserMedia = async () => {
            throw new DOMException('no', 'NotAllowedError'); }"""):
        tab.open().click("camera")
    assert tab.alert() == ("The camera may not be used: allow it in the browser.")


def test_large_models_have_their_presets_alone(tab, site, models):
    tab.open("#model=large")
    assert not tab.id("choose").is_displayed()
    assert "too much for a page" in tab.said("presets-only")
    folder, facts = info(site, "large")
    expected = python(models["large"], [
        (folder / facts["presets"]["images"][0]["file"]).read_bytes()], TEXTS)
    for text, p in zip(TEXTS, expected[0]):
        assert tab.answers()[text] == pytest.approx(p, abs=1e-5)


def test_weights_that_take_pictures_are_chosen(tab):
    """Those of ViT-B/16 are too large in float32, and not in float16."""
    assert tab.here().js("""const {Model} = await import('./model.js');
        const model = Object.assign(new Model(), {networks: {}, info: {
            precisions: [{name: 'float32'}, {name: 'float16', image: {}}]}});
        model.choose();
        const {name} = model.precision;
        model.choose('float32');
        return [name, model.precision.name, model.takesImages]""") == [
            "float16", "float32", False]


def test_a_wrong_template_is_said(tab):
    tab.open("#model=shapes&templates=custom&template=a photo")
    tab.js("""const own = document.getElementById('own'); own.value = 'a photo';
        own.dispatchEvent(new Event('input'))""")
    assert "A template needs one {}" in tab.wait().alert()


# What it looks like, and to whom.


def serious(tab):
    """What axe finds, by ids."""
    if not tab.js("return !!window.axe"):
        source = chromium.AXE.read(lambda path: path == "axe.min.js")
        tab.driver.execute_script(source["axe.min.js"].decode())
    found = tab.js("return await axe.run(document, {resultTypes: ['violations']})")
    return [(one["id"], one["nodes"][0]["html"][:200],
             one["nodes"][0]["failureSummary"][:300])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("link", [
    "#model=shapes&image=4", "#model=shapes&view=all&by=images",
    "#model=classes", "#model=large"])
def test_everybody_can_use_it(tab, tmp_path, link):
    tab.open(link)
    for width, height, dark in ((1280, 900, False), (1280, 900, True),
                                (390, 844, False)):
        tab.size(width, height, dark)
        assert tab.js("return document.scrollingElement.scrollWidth") <= width
        small = tab.js("""return [...document.querySelectorAll(
            'button, select, input:not([type=file]), textarea')].filter(
            one => one.offsetParent && one.getBoundingClientRect().height < 24 &&
            !one.closest('label')).map(one => one.outerHTML.slice(0, 99))""")
        assert small == []
        assert serious(tab) == []
        name = f"{link.split('=')[1].split('&')[0]}{'_all' * ('view' in link)}"
        chromium.screenshot(tab.driver, f"{name}_{width}_{'dark' * dark}.png",
                            tmp_path)
    tab.size(1280, 900)


def test_no_request_leaves_the_machine(tab):
    tab.open().drop("plain.jpg")
    asked = [json.loads(line["message"])["message"]
             for line in tab.driver.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked
            if one["method"] == "Network.requestWillBeSent"]
    assert len(urls) > 50
    assert not [url for url in urls if not url.startswith(
        (tab.address, "blob:", "data:", "about:"))]
    # And the browser would refuse it.
    assert tab.js("""try { await fetch('http://127.0.0.1:9/'); } catch (error) {
        return String(error); }""").startswith("TypeError")
    assert "connect-src 'self'" in (
        pathlib.Path(config.ROOT, "tools/demo/index.html").read_text())


def test_nothing_went_wrong_that_nobody_saw(tab):
    """The page's own modules throw nothing; what LiteRT notes is no error."""
    tab.driver.get_log("browser")
    tab.open().drop("plain.jpg")
    tab.click("view-all")
    thrown = [line["message"] for line in tab.driver.get_log("browser")
              if "Uncaught" in line["message"] or
              "Content Security Policy" in line["message"]]
    assert thrown == []
    assert tab.js("return crossOriginIsolated")
    alone = tab.js("return navigator.hardwareConcurrency") == 1
    assert ("1 thread)" if alone else "threads)") in tab.drop("plain.jpg").said()
