"""The command `mmreward` of this checkout: python run.py …; see src/mmreward/cli.py."""

from mmreward.cli import main

if __name__ == "__main__":
    main()
