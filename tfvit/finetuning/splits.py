"""Lines of gin that say which splits of the data are for what."""

_MAKERS = {"webdataset": "webdataset.shards", "parquet": "parquet.table",
           "arrow": "arrow.table"}


def lines(what, names, percent):
    """Yields lines that say which splits train, validate and test.

    Args:
      what: see kinds.of.
      names: {role: split} of those that there are.
      percent: of training's images that validate, where no split does.
    """
    maker = _MAKERS.get(what, f"sources.{what}")
    train = names.get("train", "train")
    splits = {"train": f"{train}[:{100 - percent}%]",
              "val": f"{train}[{100 - percent}%:]"}
    if "val" in names:
        splits = {"train": train, "val": names["val"]}
    if "test" in names:
        splits["test"] = names["test"]
    yield from (f"{role}/{maker}.split = {split!r}"
                for role, split in splits.items())
    roles = [role for role in splits if role != "train"]
    if what != "tfds" and "test" not in names:
        return  # The file that is included has the rest.
    for role in roles:
        yield (f"{role}/classification.Classification.source = "
               f"@{role}/{maker}")
    yield f"experiment.Experiment.train_source = @train/{maker}"
    each = [f"    {role!r}: @{role}/classification.Classification,\n"
            for role in roles]
    yield f"experiment.Experiment.evaluators = {{\n{''.join(each)}}}"
