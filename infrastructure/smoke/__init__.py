"""`make smoke`: one question of each kind to the real Groq, and the price."""
