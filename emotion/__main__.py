"""`python -m emotion` is the command line."""

from emotion.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
