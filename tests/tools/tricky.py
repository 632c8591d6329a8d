"""Texts that tokenizers stumble over."""

import random
import string

TEXTS = (
    "", " ", "a photo of a dog", "A Photo of a DOG.", "don't stop-me_now!",
    "café naïve Ångström", "cafe\u0301", "STRASSE straße ẞ", "ΣΊΣΥΦΟΣ σίσυφος",
    "İstanbul ıı", "ﬁne ﬂow", "日本語のテキスト", "中文abc中文", "한국어 텍스트",
    "emoji 😀👍🏽 👨\u200d👩\u200d👧", "a\u00a0b\u3000c\u2003d", "tab\tnew\nline\r\n",
    "zero\u200bwidth\u200d \ufeffbom", "control\u0001char\u0000x",
    "soft\u00adhyphen", "[CLS] [SEP] [UNK] ##ing", "$100 €5 £3 10%", "1,234.56",
    "“quotes” ‘single’ — dash…", "a" * 101, "a" * 100, "é" * 60, "ß" * 51,
    "x" * 300 + " dog", "many " * 40, "##a", "a ##b", "▁under score▁",
    "\u2028line\u2029para", "ⅣⅧ ½ ² ㎏ ™ ①", "ＦＵＬＬ　ｗｉｄｔｈ", "ｶﾞ ガ", "ﷺ",
    "عربي نص", "हिन्दी पाठ", "ไทย", "Ǆ ǆ ǅ", "ŉ ǰ ΐ ΰ", "ꭰ Ꭰ Ᏸ", "K Å Ω",
    "퟿ \ue000 \U0010ffff", "𝓯𝓪𝓷𝓬𝔂", "a+b=c^d`e|f~g<h>", "¿qué? ¡sí!",
    "\x7f\x80\x9f", "x\u0301\u0302\u0303y", "ﾞ", "<s> </s> <unk> <pad>", "</s>",
    "hello  world   ", "   lead", "trail   ", "\t", "A\u030aB", "ẛ̣", "1⁄2", "㍿",
    "ᾳ ᾼ", "ﬃ", "Ⱥ Ⱦ", "ſtop", "\u2126\u212a\u212b")
_RANGES = [(0x20, 0x7f)] * 4 + [
    (0xa0, 0x250), (0x370, 0x500), (0x1e00, 0x2000), (0x2000, 0x2400),
    (0x3000, 0x3100), (0x4e00, 0x4f00), (0xac00, 0xad00), (0xff00, 0xffef),
    (0x1f300, 0x1f700), (0x300, 0x370), (0x590, 0x700), (0x900, 0xa00),
    (0xab70, 0xabc0), (0x13a0, 0x1400), (0x0, 0x20), (0x2000, 0x2070),
    (0xfb00, 0xfb50)]


def texts(count=2_000):
    """TEXTS, and `count` of random signs from all over Unicode."""
    random_ = random.Random(0)

    def one():
        for _ in range(random_.randint(1, 20)):
            yield chr(random_.randrange(*random_.choice(_RANGES)))
            if random_.random() < 0.2:
                yield " "

    return [*TEXTS, *("".join(one()) for _ in range(count))]


def words():
    """A vocabulary that has some, not all, of what is in the texts."""
    random_ = random.Random(1)
    found = dict.fromkeys(("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    found.update(dict.fromkeys(
        "a photo of the dog cat in do not stop me now cafe naive angstrom ss "
        "fi fl fine flow hello world many trail lead quotes dash".split()))
    for low, high in set(_RANGES):
        for sign in map(chr, range(low, high)):
            if sign.strip() and random_.random() < 0.8:
                found[sign] = None
            if sign.isalnum() and random_.random() < 0.5:
                found[f"##{sign}"] = None
    for a in string.ascii_lowercase:
        for b in string.ascii_lowercase:
            if random_.random() < 0.3:
                found[a + b] = found[f"##{a}{b}"] = None
    return list(found)
