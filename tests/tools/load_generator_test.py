"""The load generator, on functions instead of servers."""

import numpy as np

from tools import load_generator


def test_percentiles_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for count in (1, 2, 99, 100, 101):
        times = rng.uniform(size=count).tolist()
        for percent in (50, 90, 99):
            expected = np.percentile(times, percent, method="inverted_cdf")
            assert load_generator.percentile(times, percent) == round(
                1000 * expected, 2)
    assert load_generator.percentile([], 99) is None


def test_each_client_asks_as_often_as_it_is_told_and_failures_are_counted():
    asked = []

    def connect():
        def ask(number):
            asked.append(number)
            if number == 3:
                raise ValueError("no")
        return ask

    report = load_generator.run(connect, clients=3, requests=2, images=5,
                                failure=ValueError)
    assert sorted(asked) == [0, 1, 1, 2, 2, 3]
    assert report["requests"] == 5 and report["clients"] == 3
    assert report["errors"] == {"no": 1}
    assert report["images_per_second"] > 0
    assert report["p50_ms"] <= report["p90_ms"] <= report["p99_ms"]


def test_it_ends_when_its_time_is_up():
    report = load_generator.run(lambda: lambda number: None, clients=2,
                                seconds=0.05, images=1, failure=ValueError)
    assert report["requests"] > 0
