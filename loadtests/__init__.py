"""What pushes Lex, and measures what that costs."""
