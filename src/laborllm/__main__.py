"""`python -m laborllm` is the command line."""

from laborllm.cli import main

main()
