"""Starts the page: `python app.py --port 7860`; `./run.sh` does the same in its own environment."""

import sys

from emotion.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
