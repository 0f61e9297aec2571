"""Running Lex in production."""
