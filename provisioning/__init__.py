"""Builds, flashes, enrols and updates node images."""
