"""msformers: mass-spectrometry foundation models in the Hugging Face ecosystem."""

__version__ = "0.1.0"
