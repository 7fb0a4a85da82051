"""Runs generated programs, which nobody has read, and says whether they pass their tests.

    with Sandbox() as sandbox:
        [verdict] = sandbox.judge([Trial("def f(x): return x", "assert f(1) == 1", "f")])

Standard library alone. Linux alone: it refuses where a layer is missing.
"""

from tgp_multimodal.evaluation.sandbox.limits import Limits
from tgp_multimodal.evaluation.sandbox.runner import Sandbox, SandboxError, Trial, Verdict

__all__ = ["Limits", "Sandbox", "SandboxError", "Trial", "Verdict"]
