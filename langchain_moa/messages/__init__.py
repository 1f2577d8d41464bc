"""What members read and say, in the forms that their providers take."""
