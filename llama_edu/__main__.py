"""`python -m llama_edu` is the same program as `llama-edu`."""

import sys

from llama_edu.cli import main

sys.exit(main())
