"""The `dojo` command."""
