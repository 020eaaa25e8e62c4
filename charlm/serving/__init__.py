"""An HTTP server for a model: its page, and a completions interface as OpenAI defined it."""
