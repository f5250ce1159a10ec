"""One execution per `Idempotency-Key`: a request that is sent again gets the first one's answer."""
