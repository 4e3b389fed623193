"""The voice satellite: microphone, wake word, endpointing, playback."""
