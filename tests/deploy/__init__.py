"""What is under deploy/, as it is deployed."""
