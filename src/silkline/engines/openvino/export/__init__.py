"""Bringing a model of transformers to OpenVINO: planned here, done in a child process, kept whole.

`plan` says what is to be made and whether it can be; `process` has it made by `__main__`, whose
heavy libraries no other process of Silkline imports.
"""
