"""Makes batches for a run that trains elsewhere: reads, decodes, augments.

    tfvit decode_worker --host=0.0.0.0 --port=5050      # on each such machine
    tfvit train ... \\
      --gin_bindings="pipeline.train.service = ['10.0.0.9:5050', '10.0.0.10:5050']"

Each makes its share of the batches, bit for bit the ones that the training
machine would make. It needs the same version of TensorFlow, and the same files
at the same paths; but what a source reads by Python, as of ArrayRecord files,
the training machine reads and sends. Runs until Ctrl-C or SIGTERM.

It runs whatever TensorFlow graph it is sent, which may read and write files as
the user it runs as, and asks for no password: it listens on this machine alone
unless --host says otherwise, which belongs into a network of one's own.
"""

import signal
import sys

from absl import flags

from tfvit import launch

_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines "
    "in, all of which can run code here.")
_PORT = flags.DEFINE_integer("port", 5050, "0 for any.", lower_bound=0,
                             upper_bound=65535)

launch.start(__name__, clock=True)

from tfvit.data import decode_server


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server, port = decode_server.serve(_HOST.value, _PORT.value)
    print(f"Makes batches for whoever asks at {_HOST.value}:{port}.", flush=True)
    try:
        server.wait_for_termination()
    finally:
        server.stop(grace=0)


if __name__ == "__main__":
    launch.run_alone(main)
