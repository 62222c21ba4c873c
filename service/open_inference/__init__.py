"""Open Inference Protocol v2: messages, their bytes, and what of them is the model's. No HTTP here."""
