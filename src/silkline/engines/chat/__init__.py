"""Conversations with tools and reasoning, for engines that write prompts and read answers.

`format` finds out what a chat template supports, `turns` converts messages for it, and `parts`
splits an answer into reasoning, text and tool calls.
"""
