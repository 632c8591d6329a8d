"""Tokenizers: from texts to a fixed number of token ids.

They run wherever TensorFlow does, tf.data and exported graphs included. A
SavedModel with one needs TensorFlow Text's ops: `import tensorflow_text` before
loading it in Python; TensorFlow Serving has them.
"""

import json

import tensorflow as tf
import tensorflow_text

from tfvit.data import byte_pairs
from tfvit.weights import fetch

_EOS = "</s>"
_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
# As Unicode has them, which \s of RE2 has not.
_BLANKS = r"[\s\p{Z}\x0b\x1c-\x1f\x{85}]+"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def wordpiece(*, vocab, max_len):
    """BERT's lower-casing tokenizer, as LiT uses it.

    The text is lower-cased and loses its accents; [CLS] comes first, no [SEP]
    follows, and zeros fill up.

    Args:
      vocab: file of one token a line, as google-research/bert has it (vocab.txt
        beside a checkpoint): anything that weights.fetch.resolve takes, such
        as `lit/LiT-B16B.txt`.
      max_len: number of tokens of every text, [CLS] included; the rest of a
        longer text is left out.

    Returns:
      A callable from string [...] to int32 [..., max_len].

    Raises:
      ValueError: max_len is too small, or the file is no BERT vocabulary.
      FileNotFoundError, OSError: as fetch.resolve.
    """
    return _Wordpiece(vocab, max_len)


def sentencepiece(*, model, max_len):
    """SentencePiece with `</s>` at the end of every text.

    `</s>` fills up, and replaces the last token of a text that is too long.

    Args:
      model: SentencePiece model file: anything that weights.fetch.resolve
        takes, such as `lit/LiT-L16S.model`.
      max_len: number of tokens of every text, `</s>` included.

    Returns:
      A callable from string [...] to int32 [..., max_len].

    Raises:
      ValueError: max_len is too small, or the file is no such model.
      FileNotFoundError, OSError: as fetch.resolve.
    """
    return _Sentencepiece(model, max_len)


def siglip(*, model, max_len):
    """As sentencepiece, of texts as SigLIP (arXiv 2303.15343) has them.

    They are lower-cased, without punctuation (of ASCII) and with single blanks.

    Args:
      model, max_len: see sentencepiece; `spiece.model`, and 64.
    """
    return _Siglip(model, max_len)


def clip_bpe(*, vocab, merges, max_len):
    """CLIP's byte pairs (arXiv 2103.00020) of lower-cased words.

    <|startoftext|> comes first, <|endoftext|> last, and fills up.

    Args:
      vocab: JSON file of {token: number}, `vocab.json` of transformers:
        anything that weights.fetch.resolve takes.
      merges: file of two tokens a line, `merges.txt`.
      max_len: number of tokens of every text, these two included; the rest of a
        longer text is left out.

    Returns:
      A callable from string [...] to int32 [..., max_len].

    Raises:
      ValueError: max_len is too small, or the files are none of CLIP's.
      FileNotFoundError, OSError: as fetch.resolve.
    """
    return _ClipBpe(vocab, merges, max_len)


class _Tokenizer(tf.Module):
    """What tokenizers share: any shape in, one more axis out.

    Attributes:
      kind: the name of the function that makes it.
      max_len: number of tokens of every text.
      vocabulary: bytes of a file that makes it again.
    """

    def __init__(self, max_len):
        super().__init__()
        if max_len < 2:
            raise ValueError(f"max_len={max_len} must be at least 2: one token "
                             "is not of the text.")
        self.max_len = max_len

    def __call__(self, texts):
        texts = tf.convert_to_tensor(texts)
        # As BERT does; some of the ops below fail on what is no UTF-8.
        flat = tf.strings.unicode_transcode(tf.reshape(texts, [-1]), "UTF-8",
                                            "UTF-8", errors="ignore")
        tokens = self._tokenize(flat)  # [texts, max_len]
        tokens = tf.reshape(tokens, [*tf.unstack(tf.shape(texts)),
                                     self.max_len])
        tokens.set_shape([*texts.shape, self.max_len])
        return tokens


class _Wordpiece(_Tokenizer):
    """See wordpiece."""

    kind = "wordpiece"

    def __init__(self, vocab, max_len):
        super().__init__(max_len)
        words = _read_vocab(vocab)
        self.cls = words.index("[CLS]")
        self.vocabulary = "".join(f"{word}\n" for word in words).encode()
        # -1 is how the tokenizer is told that it has no such word.
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                words, tf.range(len(words), dtype=tf.int64)), default_value=-1)
        self.tokenizer = tensorflow_text.BertTokenizer(
            table, token_out_type=tf.int64, lower_case=True)

    def _tokenize(self, texts):
        tokens = self.tokenizer.tokenize(texts).merge_dims(-2, -1)
        tokens = tf.cast(tokens[:, :self.max_len - 1], tf.int32)
        tokens = tokens.to_tensor(0, shape=[None, self.max_len - 1])
        return tf.pad(tokens, [[0, 0], [1, 0]], constant_values=self.cls)


def _read_vocab(path):
    if not isinstance(path, str):
        return list(path)
    with tf.io.gfile.GFile(fetch.resolve(path), "rb") as file:
        content = file.read()
    try:
        # Not splitlines, which knows more ends of lines than BERT.
        words = content.decode("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"tokenizers.wordpiece.vocab={path} is no UTF-8: {error}.") from error
    words = [word.rstrip("\r") for word in words]
    missing = {"[UNK]", "[CLS]"} - set(words)
    if missing or words[0] in ("[UNK]", "[CLS]"):
        raise ValueError(
            f"tokenizers.wordpiece.vocab={path} is no vocabulary of BERT: it needs "
            "lines [UNK] and [CLS], after a first one for padding.")
    if len(set(words)) < len(words):
        twice = next(w for i, w in enumerate(words) if w in words[:i])
        raise ValueError(f"tokenizers.wordpiece.vocab={path} has {twice!r} twice.")
    return words


class _Sentencepiece(_Tokenizer):
    """See sentencepiece."""

    kind = "sentencepiece"

    def __init__(self, model, max_len):
        super().__init__(max_len)
        with tf.io.gfile.GFile(fetch.resolve(model), "rb") as file:
            content = file.read()
        try:
            self.tokenizer = tensorflow_text.SentencepieceTokenizer(content)
            self.eos = int(self.tokenizer.string_to_id(_EOS))
            found = self.tokenizer.id_to_string(self.eos).numpy().decode()
        except tf.errors.OpError as error:
            raise ValueError(f"tokenizers.{self.kind}.model={model} is no model of "
                             f"SentencePiece: {error.message}") from error
        self.vocabulary = content
        if found != _EOS:
            raise ValueError(f"tokenizers.{self.kind}.model={model} has no {_EOS}.")

    def _tokenize(self, texts):
        # One too few, so that even the longest text ends in </s>.
        tokens = self.tokenizer.tokenize(texts)[:, :self.max_len - 1]
        return tokens.to_tensor(self.eos, shape=[None, self.max_len])


class _Siglip(_Sentencepiece):
    """See siglip."""

    kind = "siglip"

    def _tokenize(self, texts):
        texts = tf.strings.lower(texts, encoding="utf-8")
        texts = tf.strings.regex_replace(texts, _PUNCTUATION, "")
        texts = tf.strings.strip(tf.strings.regex_replace(texts, _BLANKS, " "))
        return super()._tokenize(texts)


class _ClipBpe(_Tokenizer):
    """See clip_bpe."""

    kind = "clip_bpe"

    def __init__(self, vocab, merges, max_len):
        super().__init__(max_len)
        where = f"tokenizers.clip_bpe.vocab={vocab} and merges={merges}"
        try:
            with tf.io.gfile.GFile(fetch.resolve(vocab)) as file:
                numbers = json.loads(file.read())
            with tf.io.gfile.GFile(fetch.resolve(merges)) as file:
                lines = file.read().split("\n")
            pairs = [tuple(line.split()) for line in lines
                     if line and not line.startswith("#version")]
            if not isinstance(numbers, dict) or any(
                    len(pair) != 2 for pair in pairs) or not all(
                        isinstance(number, int) and 0 <= number < 2**30
                        for number in numbers.values()):
                raise ValueError("there are other things in them")
            self._pairs = byte_pairs.BytePairs(numbers, pairs)
            self.start, self.end = (numbers[f"<|{word}oftext|>"]
                                    for word in ("start", "end"))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{where} are no vocabulary of CLIP: {error}."
                             ) from error
        self.vocabulary = json.dumps({"vocab": numbers,
                                      "merges": pairs}).encode()

    def _tokenize(self, texts):
        texts = tensorflow_text.normalize_utf8(texts, "NFC")
        texts = tf.strings.regex_replace(texts, _BLANKS, " ")
        texts = tf.strings.lower(texts, encoding="utf-8")
        words = tensorflow_text.regex_split(texts, f"{_WORDS}| ", _WORDS)
        tokens = words.with_flat_values(self._pairs(words.flat_values))
        tokens = tokens.merge_dims(1, 2)[:, :self.max_len - 2]
        ends = tf.ones_like(texts, tf.int32)[:, tf.newaxis]
        tokens = tf.concat([self.start * ends, tokens, self.end * ends], axis=1)
        return tokens.to_tensor(self.end, shape=[None, self.max_len])
