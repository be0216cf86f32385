"""A bundle behind HTTP: questions about pictures, and a page to ask them on.

Nothing else imports this room, and only it needs FastAPI, uvicorn and python-multipart (the extra ``serve``).
"""
