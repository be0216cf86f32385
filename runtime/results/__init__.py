"""What an answer is made of, and what can be done with it."""
