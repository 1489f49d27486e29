"""The command `byzantine`: one file a group of commands, each importing what it needs when called,
so that `--help` is quick."""
