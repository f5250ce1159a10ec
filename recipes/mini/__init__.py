"""Reproducible recipe of the bundled demonstration model ``silkline-mini``.

Generator (numpy and Pillow only): ``vocabulary``, ``pen``, ``shapes_*``, ``scene``, ``questions``.
Training (adds torch and transformers): ``dataset``, ``tokenizer``, ``model``, ``train``.
Shipping (adds OpenVINO): ``export``, ``evaluate``.
"""
