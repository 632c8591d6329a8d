"""What a command says in a terminal: our own lines, and how it is interrupted.

Importing this module is what keeps TensorFlow quiet: it reads these variables
when it is first imported, which must be later.
"""

import glob
import logging as python_logging
import os
import re
import signal
import sys
import threading
import time
import warnings

# Its C++ code reports errors to Python, too: what it prints beside them is
# noise, but for those of a GPU's driver.
os.environ.setdefault(
    "TF_CPP_MIN_LOG_LEVEL",
    "2" if glob.glob("/dev/nvidia*") or os.path.exists("/dev/dxg") else "3")
# tf.keras is tf_keras: Keras 3, which nothing here uses, takes 2 s to import.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from absl import logging

INTERRUPTED = 130  # Exit code after Ctrl-C where nothing was left to save.
_PATIENCE = 2.0  # Seconds for C++ code to return to Python after Ctrl-C.
_FOREIGN = re.compile(r"[/\\](?:site|dist)-packages[/\\](?!tfvit\b)")
_PREFIXES = {"WARNING": "Warning: ", "ERROR": "Error: ",
             "CRITICAL": "Error: "}


class _Formatter(python_logging.Formatter):
    """Lines for people: the time where it is wanted, the message, no more."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def format(self, record):
        text = _PREFIXES.get(record.levelname, "") + record.getMessage()
        if self._clock and record.levelno < python_logging.ERROR:
            text = f"{time.strftime('%H:%M:%S')}  {text}"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        return text


def set_up(*, verbose=False, clock=False):
    """Shows what tfvit logs, and of other packages errors alone.

    Args:
      verbose: show what others log, and what we log for debugging.
      clock: begin lines with the time, for those that come over hours.
    """
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)
    # absl warns, once, of lines before it is told about the flags' values.
    handler = logging.get_absl_handler()
    handler.setFormatter(_Formatter(clock))
    handler.filters[:] = [] if verbose else [_ours]
    if not verbose:
        python_logging.getLogger("tensorflow").setLevel(python_logging.ERROR)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")


def _ours(record):
    """Whether a log record is for the user."""
    return record.levelno >= python_logging.ERROR or not _FOREIGN.search(
        record.pathname)


class _Interrupts:
    """Turns signals into KeyboardInterrupt, or else ends the process.

    Python hears of a signal when C++ code returns to it, which may take minutes
    in a compiler: a thread ends the process if that takes long.
    """

    def __init__(self, said):
        self.said = said
        self.came = 0  # The signal.
        self._number = signal.SIGINT  # The last one, before Python hears it.
        self._leaving = threading.Event()
        self._ends, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        self.hear(signal.SIGINT)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()

    def hear(self, number):
        """Does so for one more signal."""
        signal.signal(number, self._raise)

    @property
    def code(self):
        """The exit code, as shells have it."""
        return 128 + (self.came or signal.SIGINT)

    def _raise(self, number, frame):
        del frame
        self.came = number
        raise KeyboardInterrupt

    def _watch(self):
        while True:
            (number,) = os.read(self._ends, 1)
            # Of who has set another handler, that one decides.
            if signal.getsignal(number) == self._raise:
                self._number = number
                if self.came:  # A second one.
                    self._end()
                threading.Timer(_PATIENCE, self._end).start()

    def _end(self):
        if not self._leaving.is_set():
            self.leave()
            os._exit(128 + self._number)  # No exception reaches C++ code.

    def leave(self):
        """Says, once, how it ended."""
        if not self._leaving.is_set():
            self._leaving.set()
            print(f"\n{self.said}", file=sys.stderr, flush=True)


_interrupts = None


def listen():
    """Ends this process with a line at Ctrl-C, from now on; see `interrupted`.
    """
    global _interrupts
    if _interrupts is None and (
            threading.current_thread() is threading.main_thread()):
        _interrupts = _Interrupts("Interrupted.")
        sys.excepthook = _hook


def on_interrupt(said):
    """Sets the line that Ctrl-C ends with."""
    if _interrupts:
        _interrupts.said = said


def hear_sigterm():
    """Lets SIGTERM end this process as Ctrl-C does, with the code 143."""
    if _interrupts:
        _interrupts.hear(signal.SIGTERM)


def interrupted():
    """Whether the signal came, whatever exception others have made of it."""
    return bool(_interrupts and _interrupts.came)


def leave():
    """Ends the process after Ctrl-C, or SIGTERM."""
    if _interrupts:
        _interrupts.leave()
    sys.stdout.flush()
    # Threads of TensorFlow may not end.
    os._exit(_interrupts.code if _interrupts else INTERRUPTED)


def _hook(kind, error, trace):
    """For what is raised before a command's main(), while it imports."""
    if interrupted():
        leave()
    sys.__excepthook__(kind, error, trace)
