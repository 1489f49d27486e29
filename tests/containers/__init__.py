"""What containers must do: these tests start some, and leave none."""
