"""What the laboratory is measured against: each as lean as its own way allows."""
