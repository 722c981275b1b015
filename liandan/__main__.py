"""`python -m liandan` is `liandan`."""

from liandan.cli import main

if __name__ == "__main__":
    main()
