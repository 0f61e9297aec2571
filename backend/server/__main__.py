"""`python -m backend.server`: one worker without gunicorn."""

from backend.server.server import main

main()
