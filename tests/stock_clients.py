"""A program of its own: opens an export with stock libraries alone and writes down what they say.

python stock_clients.py EXPORT QUESTIONS.json ANSWERS.npz
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.simplefilter("ignore")
export, questions_path, answers_path = sys.argv[1:]
questions = json.loads(Path(questions_path).read_text(encoding="utf-8"))
answers: dict[str, np.ndarray] = {}
torch.set_num_threads(1)

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

tokenizer = AutoTokenizer.from_pretrained(export)
model, loading = AutoModelForCausalLM.from_pretrained(export, output_loading_info=True)
model.eval()
assert not any(loading.values()), loading
answers["classes"] = np.array([type(tokenizer).__name__, type(model).__name__])
with torch.no_grad():
    for index, text in enumerate(questions["texts"]):
        ids = tokenizer(text, return_tensors="pt")
        answers[f"ids_{index}"] = ids["input_ids"][0].numpy()
        if ids["input_ids"].shape[1] <= questions["context"]:
            answers[f"logits_{index}"] = model(**ids).logits[0].numpy()
    for index, text in enumerate(questions["prompts"]):
        ids = tokenizer(text, return_tensors="pt")
        new = model.generate(**ids, max_new_tokens=questions["new_tokens"], do_sample=False)
        answers[f"written_{index}"] = new[0, ids["input_ids"].shape[1] :].numpy()

from sentence_transformers import SentenceTransformer  # noqa: E402

encoder = SentenceTransformer(export, device="cpu")
answers["vectors"] = encoder.encode(questions["texts"])
alone = SentenceTransformer(questions["language_model"], device="cpu")
answers["vectors_alone"] = alone.encode(questions["texts"])

import diffusers  # noqa: E402

pipeline = diffusers.DiffusionPipeline.from_pretrained(export)
pipeline.set_progress_bar_config(disable=True)
answers["pipeline"] = np.array([type(pipeline).__name__])
flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
own = pipeline.scheduler
for index, settings in enumerate(questions["draw"]):
    scheduler = settings.pop("scheduler", None)
    pipeline.scheduler = getattr(diffusers, scheduler)(**flow) if scheduler else own
    drawn = pipeline(
        **settings,
        generator=torch.Generator().manual_seed(questions["seed"] + index),
        use_resolution_binning=False,
        output_type="pt",
    )
    answers[f"picture_{index}"] = drawn.images[0].numpy()

assert not any(name.startswith("tgp_multimodal") for name in sys.modules)
np.savez(answers_path, **answers)
