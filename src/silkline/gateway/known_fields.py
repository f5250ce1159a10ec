"""Names of fields that other servers and the official client have, and no route here supports.

A field that may change the answer is in `NEUTRAL` with the values that do not, or in `INSTEAD`. A
field that never changes the answer here is in `WITHOUT_EFFECT`. A field in no table is unknown. The
tables apply at every level: in the body, in a message and in a content part.
"""

from __future__ import annotations

from collections.abc import Mapping

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    # The OpenAI API
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "web_search_options": (),
    # Sampling
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "best_of": (1,),
    "do_sample": (),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "early_stopping": (False,),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "n_probs": (0,),
    "options": ({},),
    "prompt_logprobs": (),
    "repeat_penalty": (1,),
    "samplers": ([],),
    "tfs_z": (1,),
    "top_a": (0,),
    "top_n_sigma": (-1,),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "xtc_probability": (0,),
    # Structured output
    "ebnf": (),
    "format": ("",),
    "grammar": ("",),
    "guided_decoding_backend": (),
    "guided_whitespace_pattern": (),
    "json_schema": (),
    "regex": (),
    "structural_tag": (),
    # The prompt
    "add_special_tokens": (False,),
    "chat_template": (),
    "documents": ([],),
    "echo": (False,),
    "enable_search": (False,),
    "input": (),
    "instructions": (),
    "lora_path": (),
    "partial": (False,),
    "plugins": ([],),
    "prefix": (False,),
    "prompt": (),
    "reasoning": (),
    "suffix": (),
    "system": (),
    "think": (),
    "thinking": (),
    "thinking_token_budget": (),
    "transforms": ([],),
    "truncate_prompt_tokens": (),
    # The text of the answer
    "no_stop_trim": (False,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    # Images and other files
    "attachments": ([],),
    "fps": (),
    "file_id": (),
    "file_ids": ([],),
    "files": ([],),
    "image": (),
    "image_url": (),
    "images": ([],),
    "max_pixels": (),
    "min_pixels": (),
    "mm_processor_kwargs": ({},),
    "nframes": (),
    "resized_height": (),
    "resized_width": (),
    "total_pixels": (),
    "video": (),
    "video_url": (),
    "videos": ([],),
}
"""Unsupported fields, and the no-op values each accepts; null is always accepted."""

INSTEAD: Mapping[str, str] = {
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "stop_sequences": "stop",
}
"""Unsupported fields, and the field to send instead."""

WITHOUT_EFFECT: frozenset[str] = frozenset(
    {
        "annotations",
        "cache_control",
        "cache_prompt",
        "context_management",
        "diagnostics",
        "id_slot",
        "inference_geo",
        "keep_alive",
        "messages.content.caller",
        "messages.content.image_url.format",
        "messages.name",
        "metadata",
        "prediction",
        "priority",
        "prompt_cache_breakpoint",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_details",
        "request_id",
        "safety_identifier",
        "service_tier",
        "speed",
        "store",
        "stream_options.include_obfuscation",
        "tools.eager_input_streaming",
        "user",
        "user_profile_id",
        "uuid",
        "verbosity",
    }
)
"""Fields that never change the answer here and are accepted; a path applies there only."""
