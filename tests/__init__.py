"""What Byzantine must do, in sentences of the paper."""
