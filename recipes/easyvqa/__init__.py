"""A teacher for the data set easy-VQA, and its evaluation sets."""
