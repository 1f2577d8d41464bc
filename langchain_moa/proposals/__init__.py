"""What is done with proposals: put into prompts, fitted, filtered, voted on, remembered."""
