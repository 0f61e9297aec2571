"""The conformance suite of Lex's stream: exchanges as data, and a small program that plays them."""
