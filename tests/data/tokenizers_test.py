"""Tokenizers on a small vocabulary and a small SentencePiece model."""

import io
import json

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tests import torch_judges
from tfvit.data import tokenizers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "##s", "cafe", ",",
         "狗"]
MAX_LEN = 6


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """18 pieces; </s> is number 1, as in the models of LiT."""
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a cat sat on a mat", "the dog and the cat"] *
                               10),
        model_writer=proto, vocab_size=18, pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, minloglevel=2)
    path = tmp_path_factory.mktemp("model") / "small.model"
    path.write_bytes(proto.getvalue())
    return str(path)


@pytest.fixture(scope="module")
def wordpiece(vocab):
    return tokenizers.wordpiece(vocab=vocab, max_len=MAX_LEN)


@pytest.fixture(scope="module")
def sentences(model_file):
    return tokenizers.sentencepiece(model=model_file, max_len=MAX_LEN)


@pytest.mark.parametrize("words, tokens", [
    ("a cat", [2, 4, 5, 0, 0, 0]),
    ("A  CATS,\tCafé", [2, 4, 5, 6, 8, 7]),
    ("dog", [2, 1, 0, 0, 0, 0]),
    ("", [2, 0, 0, 0, 0, 0]),
    ("a a a a a a a", [2, 4, 4, 4, 4, 4]),
    ("狗a", [2, 9, 4, 0, 0, 0]),
])
def test_wordpiece_gives_berts_tokens(wordpiece, words, tokens):
    np.testing.assert_array_equal(wordpiece([words]), [tokens])


@pytest.mark.parametrize("words", ["a cat", "", "the dog and the mat sat"])
def test_sentencepiece_ends_and_fills_up_with_its_end(sentences, model_file,
                                                      words):
    pieces = sentencepiece.SentencePieceProcessor(model_file=model_file).encode(
        words)
    expected = (pieces[:MAX_LEN - 1] + [1] * MAX_LEN)[:MAX_LEN]
    np.testing.assert_array_equal(sentences([words]), [expected])


@pytest.mark.parametrize("name", ["wordpiece", "sentences"])
def test_whatever_the_text_the_length_is_the_same(name, request):
    tokenize = request.getfixturevalue(name)
    texts = [b"", b" \n\t", b"cat " * 10_000, b"a" * 100_000,
             "🐈🐕 cat \U0001f468\u200d\U0001f469".encode(), b"a\x00cat\x00",
             b"\xff\xfe cat \xc3", "кот 猫 고양이 قطة שלום".encode(),
             "e\u0301\ufffd\ufeff\u202e".encode(), b"\xed\xa0\x80"]
    tokens = tokenize(tf.constant(texts)).numpy()
    assert tokens.shape == (len(texts), MAX_LEN) and tokens.dtype == np.int32
    assert (tokens >= 0).all()
    # Broken bytes take nothing else with them.
    np.testing.assert_array_equal(tokens[6], tokenize([" cat "])[0])


@pytest.mark.parametrize("name", ["wordpiece", "sentences"])
def test_a_tokenizer_works_on_any_shape_in_datasets_and_saved_models(
        name, request, tmp_path):
    tokenize = request.getfixturevalue(name)
    texts = ["a cat", "cats", ""]
    expected = tokenize(texts).numpy()
    assert tokenize("a cat").shape == [MAX_LEN]
    assert tokenize(tf.zeros([0], tf.string)).shape == [0, MAX_LEN]
    assert tokenize([["a"], ["b"]]).shape == [2, 1, MAX_LEN]
    data = tf.data.Dataset.from_tensor_slices(texts)
    one = data.map(tokenize)
    assert one.element_spec.shape == [MAX_LEN]
    np.testing.assert_array_equal(list(one.as_numpy_iterator()), expected)
    batch = data.batch(2).map(tokenize)
    np.testing.assert_array_equal(
        np.concatenate(list(batch.as_numpy_iterator())), expected)
    module = tf.Module()
    module.tokenizer = tokenize
    module.serve = tf.function(
        tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded.serve(texts), expected)


@pytest.mark.parametrize("content, message", [
    ("[PAD]\n[UNK]\na\n", r"no vocabulary of BERT.*\[CLS\]"),
    ("[CLS]\n[UNK]\na\n", "after a first one for padding"),
    ("", "no vocabulary of BERT"),
    ("[PAD]\n[UNK]\n[CLS]\na\na\n", "'a' twice"),
    (b"[PAD]\n\xff\n", "no UTF-8"),
])
def test_a_file_that_is_no_vocabulary_is_an_error(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content if isinstance(content, bytes) else
                     content.encode())
    with pytest.raises(ValueError, match=f"vocab={path}.*{message}"):
        tokenizers.wordpiece(vocab=str(path), max_len=4)


def test_a_file_that_is_no_sentencepiece_model_is_an_error(tmp_path):
    path = tmp_path / "x.model"
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=f"model={path} is no model"):
        tokenizers.sentencepiece(model=str(path), max_len=4)


def test_a_length_without_room_for_text_is_an_error(vocab):
    with pytest.raises(ValueError, match="max_len=1 must be at least 2"):
        tokenizers.wordpiece(vocab=vocab, max_len=1)


def test_vocabularies_come_from_the_catalogue(vocab, tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    folder = tmp_path / "vit_models" / "lit"
    folder.mkdir(parents=True)
    with open(vocab, "rb") as file:
        (folder / "LiT-B16B.txt").write_bytes(file.read())
    tokenize = tokenizers.wordpiece(vocab="lit/LiT-B16B.txt", max_len=4)
    np.testing.assert_array_equal(tokenize("cats"), [2, 5, 6, 0])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    vocab, merges = torch_judges.byte_pairs()
    folder = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(
        f"{a} {b}\n" for a, b in merges))
    return folder


def clip_bpe(folder, max_len=12):
    return tokenizers.clip_bpe(vocab=str(folder / "vocab.json"),
                               merges=str(folder / "merges.txt"),
                               max_len=max_len)


def test_clip_bpe_gives_the_tokens_of_transformers(clip):
    expected = np.load(torch_judges.RECORDED)["tokens/clip"]
    made = tf.function(clip_bpe(clip))
    np.testing.assert_array_equal(made(tf.constant(torch_judges.TEXTS)),
                                  expected)


@pytest.mark.slow
@pytest.mark.skipif(not torch_judges.LIVE, reason="needs transformers")
def test_clip_bpe_is_what_transformers_does_now(clip):
    np.testing.assert_array_equal(
        clip_bpe(clip, 40)(tf.constant(torch_judges.TEXTS)),
        torch_judges.clip_tokens(*torch_judges.byte_pairs(), max_len=40))


def test_clip_bpe_says_which_files_are_none(clip, tmp_path):
    (tmp_path / "merges.txt").write_text("q z\n")
    (tmp_path / "vocab.json").write_text((clip / "vocab.json").read_text())
    with pytest.raises(ValueError, match="lacks the token 'qz'"):
        clip_bpe(tmp_path)
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(ValueError, match="no vocabulary of CLIP"):
        clip_bpe(tmp_path)


def test_siglip_lowers_and_drops_punctuation(model_file, sentences):
    siglip = tokenizers.siglip(model=model_file, max_len=MAX_LEN)
    np.testing.assert_array_equal(siglip(["  A\t'Cat', sat! "]),
                                  sentences(["a cat sat"]))
    assert siglip.kind == "siglip"
