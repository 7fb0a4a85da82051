"""A sandbox that is shared by all tests of a session, skipped where the kernel allows none."""

from collections.abc import Iterator

import kernel_probe
import pytest

from tgp_multimodal.evaluation.sandbox import Limits, Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One second of processor time, half a gigabyte."""
    if reason := kernel_probe.refused():
        pytest.skip(reason)
    with Sandbox(Limits(1, 512), workers=2) as opened:
        yield opened


@pytest.fixture(scope="session")
def unsafe() -> Iterator[Sandbox]:
    """The same without isolation, for programs that do no harm."""
    with Sandbox(Limits(1, 512), unsafe_local=True, workers=2) as opened:
        yield opened
