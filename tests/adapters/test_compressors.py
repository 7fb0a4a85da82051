import lzma
import shutil
import subprocess

import numpy as np
import pytest

from tgp_multimodal.adapters.compressors import Compressor, Xz, Zstd
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Perplexity

TEXTS = ["one two three", "a", "def f(x):\n    return x\n" * 20]


@pytest.mark.parametrize("compressor", [Xz, Zstd])
def test_a_compressor_knows_what_it_has_seen(compressor: type[Compressor]) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(300)]
    training, held_out = " ".join(words), " ".join(words[::-1][:150])
    model, trained = compressor(), compressor("trained")
    for one in (model, trained):
        one.fit([training])
    plain, other = model.whole([held_out]), trained.whole([held_out])
    assert list(plain) == ["untrained", "trained"]
    assert list(other) == ["trained", "untrained"]
    assert plain == other
    assert plain["trained"] < 0.8 * plain["untrained"]
    # Eight random letters are three bits each; no compressor does better.
    assert plain["untrained"] > 150 * 6 * 3 * np.log(2)


@pytest.mark.parametrize("compressor", [Xz, Zstd])
def test_a_compressor_costs_each_text_alone(compressor: type[Compressor]) -> None:
    model = compressor()
    together = model.answer([Perplexity(t) for t in TEXTS])
    assert together == [model.answer([Perplexity(t)])[0] for t in TEXTS]
    assert [a.bytes for a in together] == [len(t) for t in TEXTS]


@pytest.mark.parametrize("compressor", [Xz, Zstd])
def test_a_trained_compressor_compares_no_pairs(compressor: type[Compressor]) -> None:
    pairs, prose = cards.find("code/sven_vulnerability"), cards.find("text/prose_bits_per_byte")
    assert compressor().can(pairs) is None
    assert f"{compressor.kind} can, untrained" in str(compressor("trained").can(pairs))
    assert compressor("trained").can(prose) is None


def test_sizes_are_those_of_the_tools_themselves() -> None:
    text = " ".join(str(i * i) for i in range(4000)).encode()
    container = len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    assert container - 120 < Xz.size(text) < container
    if shutil.which("zstd"):
        command = ["zstd", "-19", "--no-check", "-c"]
        done = subprocess.run(command, input=text, capture_output=True, check=True)
        # Versions differ by a few per cent, and the tool does not know the size beforehand.
        assert Zstd.size(text) == pytest.approx(len(done.stdout), rel=0.05)
