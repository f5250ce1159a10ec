"""`python -m silkline` is the same as `silkline`."""

from silkline.cli.main import main

main()
