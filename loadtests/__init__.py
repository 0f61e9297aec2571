"""Load tests, benchmarks and chaos for Lex."""
