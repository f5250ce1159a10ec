"""The monthly review: one page that says what a server did, what it cost, and what to do next."""
