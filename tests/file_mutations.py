"""Files changed by chance, from a seed: their bytes, and what they say."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from tests import binary_mutations, text_mutations
from tests.text_mutations import Mutant, of_bytes


def mutate(path: Path, chance: random.Random) -> Mutant:
    """A changed copy of a file, of the kind that its name tells."""
    content = path.read_bytes()
    special = _OF.get(path.suffix)
    while True:
        mutant = of_bytes(content, chance) if special is None or chance.random() < 0.25 else special(path, chance)
        if mutant.content != content:
            return mutant


_OF: Mapping[str, Callable[[Path, random.Random], Mutant]] = {
    ".json": text_mutations.json_mutant,
    ".jsonl": text_mutations.json_lines_mutant,
    ".yaml": text_mutations.yaml_mutant,
    ".txt": text_mutations.text_lines_mutant,
    ".csv": text_mutations.text_lines_mutant,
    ".pt": binary_mutations.checkpoint_mutant,
    ".safetensors": binary_mutations.safetensors_mutant,
    ".zip": binary_mutations.zip_mutant,
    ".png": binary_mutations.png_mutant,
}
