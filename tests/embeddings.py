"""A trained embedding: WordLlama's vectors of words, which come with its package."""

from __future__ import annotations

from pathlib import Path

import wordllama
from langchain_core.embeddings import Embeddings


class WordVectors(Embeddings):
    """Texts near in meaning are near each other, in 256 dimensions; takes a second to load."""

    def __init__(self) -> None:
        # its own folder holds the weights; otherwise it looks for them on the web
        folder = Path(wordllama.__file__).parent
        self._model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.embed(texts, norm=True).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
