"""What transformers alone computes with the bundled model, in float32."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers
from numpy.typing import NDArray

from silkline.models.resolve import bundled_folder


class Reference:
    """The bundled model in transformers."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        folder = bundled_folder()
        major = int(transformers.__version__.split(".")[0])
        pillow = {"backend": "pil"} if major > 4 else {"use_fast": False}
        made_with = json.loads((folder / "processor_config.json").read_text())
        made_with.pop("processor_class")
        self.processor = transformers.LlavaProcessor(
            image_processor=transformers.AutoImageProcessor.from_pretrained(folder, **pillow),
            tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
            **made_with,
            chat_template=(folder / "chat_template.jinja").read_text(),
        )
        self.model = transformers.LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )

    def greedy(self, image: PIL.Image.Image, question: str, tokens: int = 32) -> str:
        """The greedy answer."""
        inputs = self._inputs(image, question)
        made = self.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        answer = made[0, inputs["input_ids"].shape[1] :]
        text: str = self.processor.tokenizer.decode(answer, skip_special_tokens=True)
        return text

    def logprobs(
        self, image: PIL.Image.Image, question: str, answer: list[int]
    ) -> NDArray[np.float32]:
        """The log-softmax of all tokens as each token of the answer, `[tokens, vocabulary]`."""
        inputs = self._inputs(image, question)
        prompt = inputs["input_ids"].shape[1]
        added = torch.tensor([answer], dtype=torch.int64)
        inputs["input_ids"] = torch.cat((inputs["input_ids"], added), 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.inference_mode():
            logits = self.model(**inputs).logits[0, prompt - 1 : -1]
        found: NDArray[np.float32] = torch.log_softmax(logits.float(), -1).numpy()
        return found

    def _inputs(self, image: PIL.Image.Image, question: str) -> dict[str, Any]:
        content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
        inputs: Any = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        inputs.pop("token_type_ids", None)
        return dict(inputs)
