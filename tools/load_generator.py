"""Several clients that ask a server, each again once it has its answer."""

import collections
import threading
import time

_PAUSE = 0.1  # Seconds after a failed request.


def run(connect, *, clients, images, seconds=None, requests=None, failure):
    """Asks for `seconds`, or each client `requests` times.

    Args:
      connect: () -> function of a number, which counts up from that of the
        client, that sends one request and waits for its answer.
      clients: how many.
      images: in a request.
      seconds: for how long; None for no end.
      requests: of each client; None for no end.
      failure: the exception of requests that fail.

    Returns:
      {"clients", "requests", "images_per_second", "p50_ms", "p90_ms", "p99_ms",
      "errors"}; errors counts the failed ones by what was said.
    """
    times, errors, lock = [], collections.Counter(), threading.Lock()
    begun = time.monotonic()
    end = begun + (float("inf") if seconds is None else seconds)

    def work(client):
        ask, mine, number = connect(), [], client
        while (begin := time.monotonic()) < end and (
                requests is None or number < client + requests):
            try:
                ask(number)
                mine.append(time.monotonic() - begin)
            except failure as error:
                with lock:
                    errors[str(error)] += 1
                time.sleep(_PAUSE)
            number += 1
        with lock:
            times.extend(mine)

    threads = [threading.Thread(target=work, args=[i]) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(times) * images / (time.monotonic() - begun)
    return {"clients": clients, "requests": len(times),
            "images_per_second": round(rate, 1),
            **{f"p{percent}_ms": percentile(times, percent)
               for percent in (50, 90, 99)},
            "errors": dict(errors)}


def percentile(times, percent):
    """The smallest of the times, in ms, that so many do not exceed."""
    if not times:
        return None
    rank = -(-len(times) * percent // 100)  # Rounded up.
    return round(1000 * sorted(times)[rank - 1], 2)
