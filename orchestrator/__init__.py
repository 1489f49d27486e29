"""The laboratory: it musters generals, hands out roles, collects decisions and judges them."""
