"""Prompts against CLIP's lists and big_vision's rules."""

import pytest

from tfvit.data import prompts


def test_lists_are_those_of_clip():
    assert len(prompts.clip_paper) == len(set(prompts.clip_paper)) == 81
    assert len(prompts.clip_best) == 8
    assert set(prompts.clip_best) < set(prompts.clip_paper)
    # A few from each corner of the published list.
    assert set(prompts.clip_paper) > {
        "a bad photo of a {}.", "a photo of many {}.", "itap of my {}.",
        "a photo of the hard to see {}.", "the embroidered {}.",
        "graffiti of a {}.", "a jpeg corrupted photo of the {}.", "a toy {}.",
        "the {} in a video game.", "a black and white photo of the {}.",
    }


@pytest.mark.parametrize("name, text", [
    ("Tinca_tinca, tench", "tinca tinca"),
    ("n01440764 tench, Tinca tinca", "tench"),
    ("Jack-o'-lantern", "jackolantern"),
    ("  HOT  pot ", "hot pot"),
    ("maillot, tank suit", "maillot"),
])
def test_canonical_names(name, text):
    assert prompts.texts([name], ["{}"]) == [[text]]


def test_templates_keep_their_braces_alone():
    assert prompts.texts(["Cat"], ["A close-up, {}!"]) == [["a closeup cat"]]
    assert prompts.texts(["Cat"], ["A close-up, {}!"], canonicalize=False) == [
        ["A close-up, Cat!"]]


def test_texts_are_listed_class_by_class():
    assert prompts.texts(["a", "b"], ["{}", "no {}"]) == [["a", "no a"],
                                                         ["b", "no b"]]


@pytest.mark.parametrize("names, templates, message", [
    (["a"], ["photo"], "'photo' must have one {}"),
    (["a"], [], "at least one prompt"),
    (["a", "..."], ["{}"], r"Class 1 has no name: '...'"),
])
def test_what_cannot_work_is_refused(names, templates, message):
    with pytest.raises(ValueError, match=message):
        prompts.texts(names, templates)
