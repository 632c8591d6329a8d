"""Flags of the page that runs a model in the browser, of demo and export."""

from typing import NamedTuple

from absl import flags

from tfvit.serving import formats

flags.disclaim_key_flags()  # They are flags of the command that defines them.


class PageFlags(NamedTuple):
    """What `define` has defined."""
    precisions: flags.FlagHolder
    presets: flags.FlagHolder
    texts: flags.FlagHolder


def define():
    """Defines --precisions, --presets and --texts, and returns them."""
    found = PageFlags(
        flags.DEFINE_list(
            "precisions", list(formats.BROWSER), "What users of the page in "
            f"the browser choose from: {', '.join(formats.BROWSER)}."),
        flags.DEFINE_multi_string(
            "presets", [], "Images, folders or patterns that the page shows at "
            "its start (default: some of the run's own, or drawn shapes)."),
        flags.DEFINE_multi_string(
            "texts", [],
            "A prompt that it shows at its start; repeat for more."))
    flags.register_validator(
        "precisions",
        lambda names: names and set(names) <= set(formats.BROWSER),
        f"must be some of {', '.join(formats.BROWSER)}.")
    return found
