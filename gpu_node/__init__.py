"""Model serving for nodes that a person gave models: Whisper, Piper, Ollama."""
