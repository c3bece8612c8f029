"""Sparse features from texts: bags of words, words with their neighbours and affixes, words that came before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import scipy.sparse

from benchmarks.regression.datasets import Data, file_of

CONTEXT = 3
COMMONEST_CONTEXT = 1000
NEXT_WORDS = 5000
BOUNDARY = "<>"


def _columns(name: str, wanted: Iterable[str]) -> list[list[str]]:
    """Return columns of a tab-separated file as text, quotes being characters like others."""
    from pyarrow import csv

    parsing = csv.ParseOptions(delimiter="\t", quote_char=False)
    converting = csv.ConvertOptions(column_types=dict.fromkeys(wanted, "string"), strings_can_be_null=False)
    table = csv.read_csv(file_of(name), parse_options=parsing, convert_options=converting)
    return [table.column(column).to_pylist() for column in wanted]


def _labels(values: list[str]) -> tuple[np.ndarray, int]:
    found, labels = np.unique(np.asarray(values), return_inverse=True)
    return labels, len(found)


def tf_idf() -> Data:
    """Return CLINC150 as tf-idf of words and pairs of words that occur twice or more; rows of length 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, intents = _columns("clinc150.tsv.gz", ("text", "intent"))
    X = TfidfVectorizer(ngram_range=(1, 2), min_df=2).fit_transform(texts)
    y, K = _labels(intents)
    return Data(_csr(X), y, K)


def _csr(X: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    X = scipy.sparse.csr_matrix(X, dtype=np.float64)
    X.sum_duplicates()
    X.sort_indices()
    return X


def _one_hot(rows: Iterable[Iterable[str]]) -> scipy.sparse.csr_matrix:
    """Return a row of ones for each set of names; columns in the order in which the names appear."""
    seen: dict[str, int] = {}
    indices: list[int] = []
    indptr = [0]
    for row in rows:
        indices.extend(sorted({seen.setdefault(name, len(seen)) for name in row}))
        indptr.append(len(indices))
    parts = np.ones(len(indices)), np.asarray(indices, np.int32), np.asarray(indptr, np.int32)
    return scipy.sparse.csr_matrix(parts, shape=(len(indptr) - 1, len(seen)))


def _sentences(numbers: list[str], words: list[str]) -> Iterator[list[str]]:
    """Yield the words of one sentence after the other."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[start]:
            yield words[start:i]
            start = i


def _tagging_features(sentence: list[str]) -> Iterator[list[str]]:
    """Yield names for each word: itself, its neighbours by one and two, its first and last one to three letters."""
    padded = [BOUNDARY, BOUNDARY, *sentence, BOUNDARY, BOUNDARY]
    for i, word in enumerate(sentence):
        names = [f"{shift}={padded[i + 2 + shift]}" for shift in (-2, -1, 0, 1, 2)]
        for length in (1, 2, 3):
            names += [f"^{word[:length]}", f"${word[-length:]}"]
        yield names


def tagging() -> Data:
    """Return each word of UD-EWT, described by what it and its neighbours are; the tag is the class."""
    numbers, words, tags = _columns("ud_ewt_tokens.tsv.gz", ("sentence", "word", "xpos"))
    rows = (names for sentence in _sentences(numbers, words) for names in _tagging_features(sentence))
    y, K = _labels(tags)
    return Data(_one_hot(rows), y, K)


def next_word() -> Data:
    """Return each word of UD-EWT with the three before it in its sentence, one-hot by place.

    A place has a column for each of the 1,000 commonest words and stays empty for any other. The classes are the 4,999
    commonest words, and the rest as one.
    """
    numbers, words = _columns("ud_ewt_tokens.tsv.gz", ("sentence", "word"))
    commonest = [word for word, _ in Counter(words).most_common(NEXT_WORDS - 1)]
    rank = {word: i for i, word in enumerate(commonest)}
    indices: list[int] = []
    indptr = [0]
    for sentence in _sentences(numbers, words):
        for i in range(len(sentence)):
            for place in range(1, min(i, CONTEXT) + 1):
                found = rank.get(sentence[i - place], COMMONEST_CONTEXT)
                if found < COMMONEST_CONTEXT:
                    indices.append((place - 1) * COMMONEST_CONTEXT + found)
            indptr.append(len(indices))
    parts = np.ones(len(indices)), np.asarray(indices, np.int32), np.asarray(indptr, np.int32)
    X = scipy.sparse.csr_matrix(parts, shape=(len(words), CONTEXT * COMMONEST_CONTEXT))
    y = np.fromiter((rank.get(word, NEXT_WORDS - 1) for word in words), np.intp, len(words))
    return Data(X, y, NEXT_WORDS)


BUILDERS = {
    "clinc150": partial(tf_idf),
    "ud-ewt-tagging": partial(tagging),
    "ud-ewt-next-word": partial(next_word),
}
