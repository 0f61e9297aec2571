"""Running Lex on a laptop: compose files, their configuration, the stand-in for Groq."""
