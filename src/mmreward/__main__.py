"""python -m mmreward: the same as the command `mmreward`."""

from mmreward.cli import main

if __name__ == "__main__":
    main()
