"""`python -m selfrepair` is the command `selfrepair`."""

from selfrepair.dagster_project.cli.main import main

if __name__ == "__main__":
    main()
