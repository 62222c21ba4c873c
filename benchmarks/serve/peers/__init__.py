"""The same model, pictures and work behind other servers: a module each; its environment says what to serve (see work.py)."""
