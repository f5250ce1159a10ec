"""The command `silkline`, and `python -m silkline`, which is the same."""

import signal


def main() -> None:
    """Runs the command line; an interrupt while it is imported ends it without a word."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from silkline.cli.main import main as run  # noqa: PLC0415 - only now may it be interrupted

    signal.signal(signal.SIGINT, handler)
    run()


if __name__ == "__main__":
    main()
