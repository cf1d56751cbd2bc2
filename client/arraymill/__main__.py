"""`python -m arraymill`: the same as `arraymill`."""

from arraymill.cli import main

if __name__ == "__main__":
    main()
