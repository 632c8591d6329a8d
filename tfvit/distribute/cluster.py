"""Workers that find each other: TF_CONFIG, and waiting for who is in it."""

import json
import socket
import time

from absl import logging


def tasks(text):
    """(own address, {"worker INDEX": address} of all others) in TF_CONFIG.

    Raises:
      ValueError: the text does not tell.
    """
    example = ('TF_CONFIG=\'{"cluster": {"worker": ["host0:2222", '
               '"host1:2222"]}, "task": {"type": "worker", "index": 0}}\'')
    try:
        config = json.loads(text)
        job, index = config["task"]["type"], int(config["task"]["index"])
        count = len(config["cluster"][job])
        others = {
            f"{other} {i}": address
            for other, addresses in config["cluster"].items()
            for i, address in enumerate(addresses)
        }
        for address in others.values():
            int(address.rpartition(":")[2])  # Each has a port.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "strategies.multi_worker needs the environment variable TF_CONFIG "
            f"on every worker, such as {example}; here it is {text!r}."
        ) from error
    if not 0 <= index < count:
        raise ValueError(f"TF_CONFIG: task index {index} is not one of the "
                         f"{count} of {job}.")
    return others.pop(f"{job} {index}"), others


def is_first(text):
    """Whether TF_CONFIG, if there is any, makes this process the first worker.

    That is the one which writes files.
    """
    try:
        config = json.loads(text or "{}")
        task = config.get("task", {})
        chief = "chief" in config.get("cluster", {})
        return (not task or task["type"] == "chief" or
                (not chief and int(task["index"]) == 0))
    except (ValueError, KeyError, TypeError, AttributeError):
        return True  # Whoever needs it says what is wrong with it.


def first_answers(text):
    """Whether the first worker of TF_CONFIG listens at its port."""
    jobs = json.loads(text)["cluster"]
    return _answers(jobs.get("chief", jobs.get("worker"))[0])


def meet(own, others, timeout):
    """Waits until all other workers listen at their ports.

    Args:
      own: "host:port" of this worker.
      others: {name: "host:port"}.
      timeout: seconds.

    Raises:
      ConnectionError: some have not come in time; they are named.
      OSError: the own port is in use.
    """
    since = spoke = time.monotonic()
    # TensorFlow's server takes over this port, so others find it either way.
    with _listen(int(own.rsplit(":", 1)[1]), len(others)):
        while others := {k: v for k, v in others.items() if not _answers(v)}:
            names = ", ".join(f"{k} ({v})" for k, v in others.items())
            if time.monotonic() - since > timeout:
                raise ConnectionError(
                    f"After {timeout:g} s (strategies.multi_worker.timeout) "
                    f"these workers of TF_CONFIG do not answer: {names}. Start "
                    "the same command there, with its own index, and see that "
                    "their ports can be reached from here.")
            if time.monotonic() - spoke > 10:
                spoke = time.monotonic()
                logging.info("Waiting for %s.", names)
            # Ports cannot be waited for, only tried; sparing the network.
            time.sleep(0.2)


def _answers(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except OSError:
        return False
    return True


def _listen(port, others):
    ipv6 = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if ipv6 else socket.AF_INET,
            dualstack_ipv6=ipv6, backlog=others + 1)
    except OSError as error:
        raise OSError(f"TF_CONFIG gives this worker port {port}, which it "
                      f"cannot use: {error}") from error
