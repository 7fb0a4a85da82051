"""A sandbox that is shared by all tests of a session, and the reason where there can be none."""

from collections.abc import Iterator

import pytest

from tgp_multimodal.evaluation.sandbox import Limits, Sandbox, SandboxError


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One second of processor time, half a gigabyte."""
    try:
        opened = Sandbox(Limits(1, 512), workers=2)
    except SandboxError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="session")
def unsafe() -> Iterator[Sandbox]:
    """The same without isolation, for programs that do no harm."""
    with Sandbox(Limits(1, 512), unsafe_local=True, workers=2) as opened:
        yield opened
