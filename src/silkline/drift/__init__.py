"""Whether traffic and answers still are what they were: drift, and a set of known questions."""
