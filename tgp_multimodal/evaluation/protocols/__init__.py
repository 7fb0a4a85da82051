"""Protocols: examples to requests, answers to a number; one function each, one signature."""

from tgp_multimodal.evaluation.outcome import Protocol
from tgp_multimodal.evaluation.protocols.bias import bias
from tgp_multimodal.evaluation.protocols.choice import infilling, multiple_choice
from tgp_multimodal.evaluation.protocols.conditional import (
    conditional_perplexity,
    infilling_match,
)
from tgp_multimodal.evaluation.protocols.denoising import denoising
from tgp_multimodal.evaluation.protocols.few_labels import few_labels
from tgp_multimodal.evaluation.protocols.generation import generation
from tgp_multimodal.evaluation.protocols.joint_space import picture_retrieval, zero_shot
from tgp_multimodal.evaluation.protocols.last_word import last_word
from tgp_multimodal.evaluation.protocols.likeness import likeness
from tgp_multimodal.evaluation.protocols.minimal_pairs import minimal_pairs
from tgp_multimodal.evaluation.protocols.multi_label import multi_label
from tgp_multimodal.evaluation.protocols.one_shot import one_shot
from tgp_multimodal.evaluation.protocols.pairwise import pairwise
from tgp_multimodal.evaluation.protocols.pass_at_k import pass_at_k
from tgp_multimodal.evaluation.protocols.perplexity import perplexity
from tgp_multimodal.evaluation.protocols.probe import probe
from tgp_multimodal.evaluation.protocols.retrieval import retrieval
from tgp_multimodal.evaluation.protocols.scene_eval import scene_eval
from tgp_multimodal.evaluation.protocols.similarity import similarity
from tgp_multimodal.evaluation.protocols.tagging import tagging

PROTOCOLS: dict[str, Protocol] = {
    "probe": probe,
    "few_labels": few_labels,
    "multiple_choice": multiple_choice,
    "infilling": infilling,
    "retrieval": retrieval,
    "similarity": similarity,
    "generation": generation,
    "last_word": last_word,
    "bias": bias,
    "minimal_pairs": minimal_pairs,
    "perplexity": perplexity,
    "denoising": denoising,
    "likeness": likeness,
    "scene_eval": scene_eval,
    "zero_shot": zero_shot,
    "picture_retrieval": picture_retrieval,
    "tagging": tagging,
    "multi_label": multi_label,
    "one_shot": one_shot,
    "pairwise": pairwise,
    "conditional_perplexity": conditional_perplexity,
    "infilling_match": infilling_match,
    "pass_at_k": pass_at_k,
}
