"""Imports `tfvit prepare` beside commands whose flags have the same names."""

from absl import flags

_before = {name: flags.FLAGS[name] for name in flags.FLAGS}

from tfvit import prepare  # pylint: disable=wrong-import-position

for _name, _flag in _before.items():
    flags.FLAGS[_name] = _flag

make = prepare.make
