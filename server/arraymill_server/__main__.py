"""`python -m arraymill_server`: the same as `arraymill serve`."""

from arraymill_server.cli import main

if __name__ == "__main__":
    main()
