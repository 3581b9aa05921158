"""Where questions go: hosted endpoints, and the model that comes with the program."""
