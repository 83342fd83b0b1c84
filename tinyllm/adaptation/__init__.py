"""Make a trained model do something new, by changing little of it."""
