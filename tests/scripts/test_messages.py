"""The list of messages: it is whole, and each message is a sentence that says more than "wrong"."""

import pytest

from scripts.messages import messages

TOO_SHORT = 4
EMPTY = ("invalid.", "failed.", "wrong.", "error.")


@pytest.mark.slow
def test_every_message_says_what_is_the_matter() -> None:
    found = list(messages())
    assert len(found) > 300
    bad = [
        message
        for message in found
        if not message.text.rstrip().endswith((".", "}", ":", '"', "'"))
        or (len(message.text.split()) < TOO_SHORT and message.text.endswith(EMPTY))
    ]
    assert not bad
