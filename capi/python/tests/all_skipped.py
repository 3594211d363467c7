"""A run of which nothing could run is 77, skipped, to ctest, and never passed."""

_counts = {"passed": 0, "failed": 0, "skipped": 0}


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        _counts[report.outcome] += 1


def pytest_sessionfinish(session, exitstatus):
    if exitstatus in (0, 5) and _counts["passed"] == 0 and _counts["skipped"] > 0:
        session.exitstatus = 77
