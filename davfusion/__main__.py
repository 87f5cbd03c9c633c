"""`python -m davfusion` is the command `davfusion`."""

from davfusion.cli import main

if __name__ == "__main__":
    main()
