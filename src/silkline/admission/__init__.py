"""May it go on: what a request costs, whose turn it is, and when to refuse."""
